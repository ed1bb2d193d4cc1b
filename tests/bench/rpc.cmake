# One unary call at a time, against the echo server of tests/interop/grpc.
add_executable(bench_rpc bench_rpc.c)
target_link_libraries(bench_rpc PRIVATE berth_echo)
