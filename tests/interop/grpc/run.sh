#!/bin/sh
# run.sh BUILD_DIR [SUITE...]: the interoperation suites of the gRPC library, each a python program here.
# Needs python3-grpcio, python3-protobuf, python3-h2 and the openssl program.
set -u
if [ $# -lt 1 ]; then
	echo "usage: $0 BUILD_DIR [SUITE...]" >&2
	exit 2
fi
BUILD_DIR=$(cd "$1" && pwd) || exit 2
shift
export BUILD_DIR
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- calls client tls life abuse
failed=0
for suite in "$@"; do
	echo "== $suite"
	(cd "$here" && PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "test_$suite.py") || failed=1
done
exit $failed
