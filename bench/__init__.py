"""Each stage of the hub against its floor, in the same run. `make bench`; results in `bench/results/`."""
