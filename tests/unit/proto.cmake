# berth_test_messages: messages with every kind of field, for tests of what walks over descriptors.
set(out ${CMAKE_CURRENT_BINARY_DIR}/every_type.pb-c)
add_custom_command(
	OUTPUT ${out}.c ${out}.h
	COMMAND ${PROTOC} --plugin=protoc-gen-c=${CMAKE_SOURCE_DIR}/cmake/protoc-gen-copt
		-I${CMAKE_CURRENT_SOURCE_DIR} -I/usr/include --c_out=${CMAKE_CURRENT_BINARY_DIR}
		every_type.proto
	DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/every_type.proto ${CMAKE_SOURCE_DIR}/cmake/protoc-gen-copt
	COMMENT "protoc every_type.proto")
add_library(berth_test_messages STATIC ${out}.c ${out}.h)
target_include_directories(berth_test_messages SYSTEM PUBLIC ${CMAKE_CURRENT_BINARY_DIR})
target_link_libraries(berth_test_messages PUBLIC berth_proto)
set_source_files_properties(${out}.c PROPERTIES COMPILE_OPTIONS "-w")

unit_test(arena LIBS berth_test_messages)
unit_test(utf8 LIBS berth_proto)
unit_test(packet LIBS berth_test_messages)
unit_test(wirecheck LIBS berth_test_messages)
unit_test(names LIBS berth_proto)
unit_test(nearest LIBS berth_proto)
unit_test(quantity LIBS berth_proto)
unit_test(signame LIBS berth_proto)
