"""Every error llmos raises on purpose.

    LlmosError
    ├── ConfigError            a setting has a value that can't be used
    ├── StorageError           a file or folder of llmos can't be read or written (full disk, rights, damage)
    ├── ModelError
    │   ├── ModelNotFound      no such model, here or at the hub
    │   ├── ModelInvalid       the file is not a model that can be run (truncated, malformed, wrong kind, wrong hash)
    │   ├── TemplateError      the chat template is broken, hostile, or refuses these messages
    │   └── DownloadError      a pull could not be finished; what arrived is kept and resumed
    ├── RunError               a run or one of its system calls failed
    │   ├── BudgetExceeded     a budget ran out; what was done until then is kept
    │   ├── LoopDetected       the same actions came with the same results, again and again
    │   ├── Interrupted        the process was killed or interrupted
    │   ├── Denied             the policy or the user refused a call
    │   ├── NobodyThere        a question needs a person, and none can answer
    │   ├── BadArguments       a call does not fit the tool's schema, or there is no such tool
    │   ├── Unfinished         a call may or may not have been carried out before the run was interrupted
    │   ├── NoSuchProcess      no process, mailbox or run of this name
    │   ├── JournalMismatch    code that is resumed makes other calls than those recorded
    │   ├── BadPlan            a plan is empty, circular, names what there is not, or is beyond its budget
    │   ├── Unverified         work was done and redone, and no attempt passed its check
    │   ├── BrowserError       a page or the browser did not do what was asked, or an address is walled off
    │   ├── McpError           an MCP server can't be reached, died, hangs, talks nonsense, or is not what was accepted
    │   └── SandboxUnavailable this machine has no way to confine code, and running it unconfined was not allowed
    └── EngineError
        ├── EngineClosed       the engine was closed before or during the request
        ├── EngineCrashed      the engine's process died and could not be brought back
        ├── OutOfMemory        the model or its context does not fit; the numbers are in the message
        ├── PromptTooLong      the prompt can never fit into the context; the numbers are in the message
        ├── ConstraintError    a schema, expression or grammar is malformed or can't be satisfied
        ├── Unsupported        this engine lacks the capability
        ├── RealModelForbidden a real model was used where only scripted engines are allowed
        └── RemoteError        a remote engine failed: `status` is its HTTP status, 0 without an answer
            └── RemoteTimeout  a remote engine did not answer in time

A message says what was tried and what happened; `hint` says what to do next. `str(error)` holds both.
"""

from __future__ import annotations


class LlmosError(Exception):
    """Base of all errors that llmos raises on purpose.

    Args:
        message: What was tried and what happened, identifiers quoted with `!r`.
        hint: What to do next, one sentence; may be empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class ConfigError(LlmosError):
    """A setting has a value that can't be used."""


class StorageError(LlmosError):
    """A file or folder of llmos can't be read or written."""


class ModelError(LlmosError):
    """Something is wrong with a model."""


class ModelNotFound(ModelError):
    """No such model, here or at the hub."""


class ModelInvalid(ModelError):
    """The file is not a model that can be run."""


class TemplateError(ModelError):
    """The chat template is broken, hostile, or refuses these messages."""


class DownloadError(ModelError):
    """A pull could not be finished; what arrived is kept and resumed."""


class EngineError(LlmosError):
    """A request to an engine failed."""


class EngineClosed(EngineError):
    """The engine was closed before or during the request."""


class EngineCrashed(EngineError):
    """The engine's process died and could not be brought back."""


class OutOfMemory(EngineError):
    """The model or its context does not fit into memory."""


class PromptTooLong(EngineError):
    """The prompt can never fit into the context: nothing is truncated, it is refused."""


class ConstraintError(EngineError):
    """A schema, expression or grammar is malformed or can't be satisfied."""


class Unsupported(EngineError):
    """This engine lacks the capability that was asked for."""


class RealModelForbidden(EngineError):
    """A real model was about to be used although `LLMOS_FORBID_REAL_MODELS` is set."""


class RemoteError(EngineError):
    """A remote engine failed.

    Attributes:
        status: Its HTTP status, 0 where there was no answer.
    """

    def __init__(self, message: str, *, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class RemoteTimeout(RemoteError):
    """A remote engine did not answer in time."""


class RunError(LlmosError):
    """A run or one of its system calls failed."""


class BudgetExceeded(RunError):
    """A budget ran out: a typed end with what was done so far, never a hang."""


class LoopDetected(RunError):
    """The same actions came with the same results, again and again."""


class Interrupted(RunError):
    """The process was killed or interrupted."""


class Denied(RunError):
    """The policy or the user refused a call."""


class NobodyThere(RunError):
    """A question needs a person, and none can answer."""


class BadArguments(RunError):
    """A call does not fit the tool's schema, or there is no such tool."""


class Unfinished(RunError):
    """A call may or may not have been carried out before the run was interrupted, and nobody can say."""


class NoSuchProcess(RunError):
    """No process, mailbox or run of this name."""


class JournalMismatch(RunError):
    """Code that is resumed makes other calls than those recorded; the message names the call."""


class BadPlan(RunError):
    """A plan is empty, circular, names what there is not, or is beyond its budget."""


class Unverified(RunError):
    """Work was done and redone, and no attempt passed its check."""


class SandboxUnavailable(RunError):
    """This machine has no way to confine code, and running it unconfined was not allowed."""


class McpError(RunError):
    """An MCP server can't be used, or a call of it came to nothing.

    Attributes:
        reason: What is wrong, for programs: `unreachable`, `died`, `timeout`, `nonsense`, `too large`, `changed` (it is
            not what was accepted), `refused` (it answered with an error). Empty where the error comes from a journal.
    """

    def __init__(self, message: str, *, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class BrowserError(RunError):
    """A page or the browser did not do what was asked.

    Attributes:
        reason: What is wrong, for programs: `stale` (the element is gone), `covered` (something lies over it),
            `disabled`, `hidden`, `unfit` (such an element can't do that), `unchanged`, `timeout`, `blocked` (the
            address is walled off), `unreachable` (no such page, no answer), `crashed` (the page or the browser),
            `closed`, `commit` (the control can't be taken back and needs a confirmed commit), `origin` (the element's
            document is another site than the call says), `busy` (another action is under way), `paused` (a person has
            the browser), `missing` (no browser here). Empty where the error
            comes from a journal.
    """

    def __init__(self, message: str, *, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
