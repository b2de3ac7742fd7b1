"""All rows of the charter: importing a file of them enters its own."""

import rows_bad_input  # noqa: F401
import rows_bombs  # noqa: F401
import rows_builds  # noqa: F401
import rows_compilers  # noqa: F401
import rows_dropout  # noqa: F401
import rows_exact  # noqa: F401
import rows_files  # noqa: F401
import rows_formats  # noqa: F401
import rows_functions  # noqa: F401
import rows_growth  # noqa: F401
import rows_headers  # noqa: F401
import rows_independence  # noqa: F401
import rows_large  # noqa: F401
import rows_large_layers  # noqa: F401
import rows_large_more  # noqa: F401
import rows_large_noise  # noqa: F401
import rows_large_types  # noqa: F401
import rows_memory  # noqa: F401
import rows_mutants  # noqa: F401
import rows_neighbour  # noqa: F401
import rows_nested  # noqa: F401
import rows_numbers  # noqa: F401
import rows_packages  # noqa: F401
import rows_power  # noqa: F401
import rows_processes  # noqa: F401
import rows_races  # noqa: F401
import rows_resumed  # noqa: F401
import rows_shipped  # noqa: F401
import rows_starved  # noqa: F401
import rows_steps  # noqa: F401
import rows_traced  # noqa: F401
from charter import ROWS

__all__ = ["ROWS"]
