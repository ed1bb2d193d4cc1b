unit_test(config LIBS berth_proto)
