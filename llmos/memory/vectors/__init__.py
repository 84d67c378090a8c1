"""Items by the meaning of their texts: an index beside the store, which can be made anew from it at any time."""

from llmos.memory.vectors.index import VectorIndex as VectorIndex
from llmos.memory.vectors.moving import Moved as Moved
from llmos.memory.vectors.moving import move as move
