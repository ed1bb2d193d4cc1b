fuzz_target(wirecheck LIBS berth_test_messages)
fuzz_target(protojson LIBS berth_json berth_test_messages)
fuzz_target(config LIBS berth_proto)
fuzz_target(quantity LIBS berth_proto)
