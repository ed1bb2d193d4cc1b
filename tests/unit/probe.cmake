unit_test(probe LIBS berth_probe)
