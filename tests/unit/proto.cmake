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

# No message may hold itself: over both contracts, and over every_type.proto, where one does.
set(SANDBOX_DESCRIPTORS ${CMAKE_CURRENT_BINARY_DIR}/sandbox.descriptors)
add_custom_command(
	OUTPUT ${SANDBOX_DESCRIPTORS}
	COMMAND ${PROTOC} -I${CMAKE_SOURCE_DIR}/proto -I/usr/include --include_imports
		--descriptor_set_out=${SANDBOX_DESCRIPTORS} berth/sandbox/v1/sandbox.proto
	DEPENDS ${CMAKE_SOURCE_DIR}/proto/berth/sandbox/v1/sandbox.proto
	COMMENT "protoc sandbox.descriptors")
add_custom_target(sandbox_descriptors ALL DEPENDS ${SANDBOX_DESCRIPTORS})
add_test(NAME unit_nesting COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/check_nesting.py
	${CMAKE_CURRENT_BINARY_DIR}/every_type.descriptors ${BERTH_DESCRIPTOR_SET}
	${SANDBOX_DESCRIPTORS})
set_tests_properties(unit_nesting PROPERTIES LABELS unit TIMEOUT 60)
