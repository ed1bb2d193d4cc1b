# bare_launch and launch_direct: the same launch without and with Berth's own code around it.
add_executable(one_byte one_byte.c)
target_compile_options(one_byte PRIVATE -Os -fno-pie -fno-stack-protector -fno-sanitize=all
	-U_FORTIFY_SOURCE)
target_link_options(one_byte PRIVATE -static -nostdlib -fno-sanitize=all)
set_target_properties(one_byte PROPERTIES POSITION_INDEPENDENT_CODE OFF)

foreach(name bare_launch launch_direct launch_image)
	add_executable(${name} ${name}.c launch_bed.c)
	target_link_libraries(${name} PRIVATE launch_harness)
	target_compile_definitions(${name} PRIVATE BENCH_ONE_BYTE="$<TARGET_FILE:one_byte>")
	add_dependencies(${name} one_byte)
endforeach()
