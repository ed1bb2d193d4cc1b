/*
 * A static program for the inside of containers: each sub-command tries one thing and prints
 * "<command> <errno name or OK>".
 */
#include <stdio.h>
int main(int argc, char **argv)
{
	(void)printf("probe %d %s\n", argc, argc > 1 ? argv[1] : "");
	return 0;
}
