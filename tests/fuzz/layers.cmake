fuzz_target(layer LIBS berth_sandbox berth_unpack)
