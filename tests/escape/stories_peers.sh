run_peer_stories() { :; }
run_policy_stories() { :; }
