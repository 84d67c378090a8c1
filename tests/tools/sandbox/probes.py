"""What hostile code tries: each a program of its own that prints ESCAPED if it got what it wanted.

They are told by their environment what to go for. Without a sandbox every one of them succeeds.
"""

from __future__ import annotations

SECRET_READ = """
import os
print("ESCAPED" if "s3cret" in open(os.environ["SECRET"]).read() else "")
"""

WRITE_OUTSIDE = """
import os
with open(os.path.join(os.environ["OUTSIDE"], "planted"), "w") as file:
    file.write("x")
print("ESCAPED")
"""

NETWORK = """
import os, socket
got = []
def attempt(action):
    try:
        got.append(action())
    except OSError as error:
        print(error)
def tcp():
    with socket.create_connection(("127.0.0.1", int(os.environ["TCP"])), timeout=2) as link:
        return link.recv(5)
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.sendto(b"leak", ("127.0.0.1", int(os.environ["UDP"])))
def dns():
    query = b"\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x06s3cret\\x07example\\0\\0\\x01\\0\\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.sendto(query, ("127.0.0.1", int(os.environ["UDP"])))
def abstract():
    with socket.socket(socket.AF_UNIX) as link:
        link.connect("\\0" + os.environ["ABSTRACT"])
def pathname():
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(os.environ["PATHNAME"])
def pair():
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.sendto(b"leak", os.environ["DATAGRAMS"])
for action in (tcp, udp, dns, abstract, pathname, pair):
    attempt(action)
print("ESCAPED" * bool(got), len(got))
"""

FORK_BOMB = """
import os, time
children = []
try:
    for _ in range(40):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        children.append(child)
    time.sleep(0.5)
    print("ESCAPED")
finally:
    for child in children:
        os.kill(child, 9)
"""

MEMORY_BOMB = """
data = bytearray(400 << 20)
for place in range(0, len(data), 4096):
    data[place] = 1
print("ESCAPED")
"""

ENDLESS_LOOP = """
print("ESCAPED", flush=True)
while True:
    pass
"""

ENVIRONMENT = """
import os
def attempt(path):
    try:
        return b"s3cret" in open(path, "rb").read()
    except OSError as error:
        print(error)
places = [f"/proc/{os.environ['VICTIM']}/environ", f"/proc/{os.getppid()}/environ", "/proc/1/environ"]
found = [attempt(path) for path in places]
print("ESCAPED" if any(found) or "s3cret" in os.environ.values() else "")
"""

SYMLINK = """
import os
os.symlink(os.environ["SECRET"], "link")
os.symlink(os.environ["OUTSIDE"], "folder")
got = []
def read():
    open("link").read()
def write():
    open("folder/planted", "w")
def link():
    os.link(os.environ["SECRET"], "hard")
for attempt in (read, write, link):
    try:
        attempt()
        got.append(1)
    except OSError as error:
        print(error)
print("ESCAPED" * bool(got), len(got))
"""

SETUID = """
import os, shutil, stat
got = []
def own(name):
    shutil.copyfile("/bin/true", name)
    os.chmod(name, 0o4755)
def at_once(name):
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o4755))
def by_file(name):
    with open(name, "w") as file:
        os.fchmod(file.fileno(), 0o2755)
for number, attempt in enumerate((own, at_once, by_file)):
    try:
        attempt(f"program{number}")
    except OSError as error:
        print(error)
    if os.path.exists(f"program{number}") and os.stat(f"program{number}").st_mode & 0o6000:
        got.append(number)
if "NoNewPrivs:\\t0" in open("/proc/self/status").read():
    got.append("programs of root may be started")
print("ESCAPED" * bool(got), got)
"""

PTRACE = """
import ctypes, os
library = ctypes.CDLL(None, use_errno=True)
victim = int(os.environ["VICTIM"])
attached = library.ptrace(16, victim, None, None) == 0
if attached:
    os.waitpid(victim, 0x40000000)
    library.ptrace(17, victim, None, None)
class Span(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(1)
local, remote = Span(ctypes.addressof(buffer), 1), Span(int(os.environ["ADDRESS"]), 1)
read = library.process_vm_readv(victim, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) == 1
print("ESCAPED" * (attached or read), attached, read, ctypes.get_errno())
"""

HUGE_OUTPUT = """
import os
block = b"x" * (1 << 20)
for _ in range(300):
    os.write(1, block)
"""

SIGNAL = """
import os, signal
got = []
for victim in {int(os.environ["VICTIM"]), os.getppid()}:
    for attempt in (lambda: os.kill(victim, 0), lambda: signal.pidfd_send_signal(os.pidfd_open(victim), 0)):
        try:
            attempt()
            got.append(victim)
        except OSError as error:
            print(error)
print("ESCAPED" if int(os.environ["VICTIM"]) in got else "", got)
"""

DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (0, 1, 2):
            os.close(number)
        for _ in range(600):
            with open("alive", "a") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(0.05)
    os._exit(0)
while not os.path.exists("alive"):
    time.sleep(0.01)
print("ESCAPED")
"""
