"""Personal memory: what the user said of themselves, what their choices show, and what of it is always in context."""

from llmos.memory.personal.asking import asks_why as asks_why
from llmos.memory.personal.consolidation import Consolidated as Consolidated
from llmos.memory.personal.consolidation import Question as Question
from llmos.memory.personal.consolidation import consolidate as consolidate
from llmos.memory.personal.consolidation import summaries_of as summaries_of
from llmos.memory.personal.core import Core as Core
from llmos.memory.personal.core import block as block
from llmos.memory.personal.extract import Extracted as Extracted
from llmos.memory.personal.extract import Spoken as Spoken
from llmos.memory.personal.extract import extract as extract
from llmos.memory.personal.facts import Fact as Fact
from llmos.memory.personal.facts import Reason as Reason
from llmos.memory.personal.facts import Told as Told
from llmos.memory.personal.facts import rank as rank
from llmos.memory.personal.personal import Personal as Personal
