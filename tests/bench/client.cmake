# What tests/bench/run starts: the client with a clock that plays the scheduler, how the others are timed,
# and what all of them launch.
add_executable(bench_client client.c)
target_link_libraries(bench_client PRIVATE berth_grpc)

add_executable(bench_spawn spawn.c)
add_executable(bare_reads bare_reads.c)

foreach(name first idle)
	add_executable(bench_${name} workload_${name}.c)
	target_compile_options(bench_${name} PRIVATE -Os -fno-pie -fno-stack-protector
		-fno-sanitize=all -U_FORTIFY_SOURCE)
	target_link_options(bench_${name} PRIVATE -static -no-pie -nostartfiles -fno-sanitize=all)
	set_target_properties(bench_${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
endforeach()
