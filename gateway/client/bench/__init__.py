"""Load on a gateway and its figures: shapes of load, drivers for both interfaces, statistics, the report."""
