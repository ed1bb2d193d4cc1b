# The daemon around the launch. tests/system/sandboxd drives all of it over its socket.
unit_test(idrange LIBS berth_sandbox)
unit_test(policy LIBS berth_sandbox)
unit_test(requests LIBS berth_sandbox WRAP agent_link_reply agent_link_reply_failure
	agent_link_is_ready)
unit_test(record LIBS berth_sandbox)
unit_test(departures LIBS berth_sandbox)
unit_test(reaper LIBS berth_sandbox)
unit_test(descriptor_store LIBS berth_sandbox)
unit_test(log LIBS berth_proto)
