"""What a service's tests are written with: sentences about deciders, a clock that stands still, golden files."""

from upwell_shared.testing.clock import FixedClock
from upwell_shared.testing.deciding import Given
from upwell_shared.testing.golden import check_golden_files
from upwell_shared.testing.projecting import rows_in_pages
from upwell_shared.testing.publishing import unpublished

__all__ = ["FixedClock", "Given", "check_golden_files", "rows_in_pages", "unpublished"]
