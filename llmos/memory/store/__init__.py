"""What is remembered, in one SQLite file: the only truth of the memory, from which all indexes can be made anew."""

from llmos.memory.store.records import Changed as Changed
from llmos.memory.store.records import Changes as Changes
from llmos.memory.store.records import Columns as Columns
from llmos.memory.store.records import Lost as Lost
from llmos.memory.store.records import Source as Source
from llmos.memory.store.store import MemoryStore as MemoryStore
