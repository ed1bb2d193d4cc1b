unit_test(protojson LIBS berth_json berth_test_messages)

# Against Python's mapping: json_filter turns messages into JSON and back, compare_json.py compares.
add_executable(json_filter json_filter.c)
target_link_libraries(json_filter PRIVATE berth_json berth_test_messages)
set(EVERY_TYPE_DESCRIPTORS ${CMAKE_CURRENT_BINARY_DIR}/every_type.descriptors)
add_custom_command(
	OUTPUT ${EVERY_TYPE_DESCRIPTORS}
	COMMAND ${PROTOC} -I${CMAKE_CURRENT_SOURCE_DIR} -I${CMAKE_SOURCE_DIR}/proto -I/usr/include
		--include_imports --descriptor_set_out=${EVERY_TYPE_DESCRIPTORS} every_type.proto
		google/rpc/error_details.proto google/rpc/status.proto
	DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/every_type.proto
	COMMENT "protoc every_type.descriptors")
add_custom_target(every_type_descriptors DEPENDS ${EVERY_TYPE_DESCRIPTORS})
add_dependencies(json_filter every_type_descriptors)
add_test(NAME unit_json_against_python COMMAND /usr/bin/python3
	${CMAKE_CURRENT_SOURCE_DIR}/compare_json.py $<TARGET_FILE:json_filter>
	${EVERY_TYPE_DESCRIPTORS})
set_tests_properties(unit_json_against_python PROPERTIES LABELS unit TIMEOUT 120)
