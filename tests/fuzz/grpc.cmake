fuzz_target(http2_session LIBS berth_echo)
fuzz_target(grpc_parts LIBS berth_grpc)
fuzz_target(grpc_client LIBS berth_grpc)
fuzz_target(grpc_calls LIBS berth_grpc)
