/*
 * A node, for people.
 */
#pragma once

#include <stdio.h>

#include "berth/v1/types.pb-c.h"

void node_print(const Berth__V1__Node *node, FILE *file);
