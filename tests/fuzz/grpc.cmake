fuzz_target(http2_session LIBS berth_echo)
fuzz_target(grpc_parts LIBS berth_grpc)
