"""Data sets: read from files and tables, split by class, standardised by the training part."""

from fastreg.data.binary import read_idx, read_npz
from fastreg.data.csv import read_csv
from fastreg.data.rows import Batches, Rows, Source
from fastreg.data.splits import Dataset, Standardizer, split
from fastreg.data.table import from_frame

__all__ = [
    "Batches",
    "Dataset",
    "Rows",
    "Source",
    "Standardizer",
    "from_frame",
    "read_csv",
    "read_idx",
    "read_npz",
    "split",
]
