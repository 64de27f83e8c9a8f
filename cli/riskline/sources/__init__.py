"""Files, folders and stdin become records, each with the exact place of its text."""

from riskline.sources.find import find_record
from riskline.sources.formats import FORMATS, SOURCES
from riskline.sources.inputs import Item, read
from riskline.sources.options import SourceOptions

__all__ = ["FORMATS", "SOURCES", "Item", "SourceOptions", "find_record", "read"]
