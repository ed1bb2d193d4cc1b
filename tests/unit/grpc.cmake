unit_test(grpc_parts LIBS berth_grpc)
unit_test(grpc_details LIBS berth_grpc)
unit_test(grpc_descriptors LIBS berth_echo)
unit_test(grpc_calls LIBS berth_echo)
