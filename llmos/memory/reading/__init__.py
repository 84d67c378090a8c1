"""Files and pages become documents, and documents passages."""

from llmos.memory.reading.chunks import passages
from llmos.memory.reading.document import Block, Document, Form, Passage, Section, Shape
from llmos.memory.reading.reader import read

__all__ = ["Block", "Document", "Form", "Passage", "Section", "Shape", "passages", "read"]
