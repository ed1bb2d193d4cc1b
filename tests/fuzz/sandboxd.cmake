# Answers go nowhere, and the connection counts as one that has said Hello.
fuzz_target(requests LIBS berth_sandbox)
if(BERTH_FUZZ)
	foreach(symbol agent_link_reply agent_link_reply_failure agent_link_is_ready
			agent_link_set_ready)
		target_link_options(fuzz_requests PRIVATE -Wl,--wrap=${symbol})
	endforeach()
endif()
fuzz_target(attachment LIBS berth_sandbox)
fuzz_target(monitor_wire LIBS berth_sandbox)
