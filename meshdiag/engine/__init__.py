"""The engine: a prefilter over raw blocks, then confirmation on parsed fields."""
