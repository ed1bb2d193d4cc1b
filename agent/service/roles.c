#include "agent/service/roles.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

/* Accounts in more groups than this are looked up by the group's own list of members only. */
#define GROUPS_MAX 256

static bool user_in_group(uid_t uid, gid_t primary, const char *group_name)
{
	char group_buffer[16384], user_buffer[4096];
	struct group group, *found_group = NULL;
	struct passwd user, *found_user = NULL;
	gid_t gids[GROUPS_MAX];
	int count = GROUPS_MAX;

	if (getgrnam_r(group_name, &group, group_buffer, sizeof(group_buffer), &found_group) != 0 ||
	    !found_group)
		return false;
	if (primary == group.gr_gid)
		return true;
	if (getpwuid_r(uid, &user, user_buffer, sizeof(user_buffer), &found_user) != 0 ||
	    !found_user)
		return false;
	if (getgrouplist(user.pw_name, primary, gids, &count) < 0)
		count = 0;
	for (int i = 0; i < count; i++)
		if (gids[i] == group.gr_gid)
			return true;
	return false;
}

static bool has_name(const struct config_list *names, const struct grpc_peer *peer)
{
	for (size_t i = 0; i < names->n; i++)
		if (grpc_peer_has_name(peer, names->items[i]))
			return true;
	return false;
}

unsigned int roles_of_peer(const struct settings *settings, const struct grpc_peer *peer)
{
	unsigned int roles = 0;

	if (peer->kind == GRPC_PEER_UNIX) {
		if (peer->uid == 0 || peer->uid == geteuid() ||
		    user_in_group(peer->uid, peer->gid, settings->socket_group))
			roles |= ROLE_OPERATOR;
		return roles;
	}
	if (has_name(&settings->schedulers, peer))
		roles |= ROLE_SCHEDULER;
	if (has_name(&settings->operators, peer))
		roles |= ROLE_OPERATOR;
	if (has_name(&settings->observers, peer))
		roles |= ROLE_OBSERVER;
	return roles;
}

const char *peer_name(const struct grpc_peer *peer, char buffer[static PEER_NAME_MAX])
{
	const char *name = peer->common_name;

	if (peer->kind == GRPC_PEER_UNIX) {
		(void)snprintf(buffer, PEER_NAME_MAX, "uid:%u", peer->uid);
		return buffer;
	}
	if (peer->n_uri_names)
		name = peer->uri_names[0];
	else if (peer->n_dns_names)
		name = peer->dns_names[0];
	if (name && *name && strlen(name) < PEER_NAME_MAX)
		(void)snprintf(buffer, PEER_NAME_MAX, "%s", name);
	else
		(void)snprintf(buffer, PEER_NAME_MAX, "sha256:%s", peer->fingerprint);
	return buffer;
}

const char *roles_text(unsigned int roles, char buffer[static ROLES_TEXT_MAX])
{
	static const struct {
		enum role role;
		const char *name;
	} names[] = { { ROLE_SCHEDULER, "scheduler" },
		      { ROLE_OPERATOR, "operator" },
		      { ROLE_OBSERVER, "observer" } };

	buffer[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!(roles & names[i].role))
			continue;
		if (buffer[0])
			(void)strcat(buffer, ",");
		(void)strcat(buffer, names[i].name);
	}
	return buffer[0] ? buffer : strcpy(buffer, "no role");
}

int roles_permit(unsigned int roles, const struct grpc_method *method, struct err *err)
{
	unsigned int permitted = ROLES_OF_FLAGS(method->flags);
	const char *name = strrchr(method->path, '/');
	char has[ROLES_TEXT_MAX], needs[ROLES_TEXT_MAX];

	if (!permitted || (roles & permitted))
		return 0;
	return err_set(err, ERR_DENIED, EACCES,
		       "%s is for the roles %s; this peer has %s (see [Access] in berthd.conf)",
		       name ? name + 1 : method->path, roles_text(permitted, needs),
		       roles_text(roles, has));
}
