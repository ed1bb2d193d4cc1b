"""Stories: functions with a sentence for a name, run in order; one line of result each."""
import fnmatch
import os
import sys
import time
import traceback

IN_VM = os.environ.get("BERTH_IN_VM") == "1"
STORIES = []


class Skip(Exception):
    pass


def story(function):
    STORIES.append(function)
    return function


def equal(have, want, what=""):
    if have != want:
        raise AssertionError(f"{what or 'it'} is {have!r} instead of {want!r}")


def has(text, *parts):
    for part in parts:
        if part not in text:
            raise AssertionError(f"{part!r} is not in {text!r}")


def rounds(natively, in_vm):
    return in_vm if IN_VM else natively


def refused(call, code, *parts, field=None):
    """What `call` is refused with; it has to be."""
    from api import Refused
    try:
        answer = call()
    except Refused as why:
        if why.code != code:
            raise AssertionError(f"refused with {why} instead of {code}") from None
        has(why.text, *parts)
        if field is not None and field not in why.fields:
            raise AssertionError(f"{field!r} is not among the fields {why.fields} ({why})") from None
        return why
    raise AssertionError(f"not refused: {answer}")


def run_stories(host, patterns):
    """Returns whether all went well."""
    good = True
    for function in STORIES:
        name = function.__name__.replace("_", "-")
        if patterns and not any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            continue
        began = time.monotonic()
        try:
            function(host)
            print(f"ok {name}", flush=True)
        except Skip as reason:
            print(f"skip {name}: {reason}", flush=True)
        except Exception as error:  # whatever it is, the next story is told too
            good = False
            traceback.print_exc(file=sys.stdout)
            print(host.last_words(), flush=True)
            print(f"not ok {name}: {' '.join(str(error).split())[:300]}", flush=True)
        finally:
            print(f"# {name}: {time.monotonic() - began:.2f} s", flush=True)
            try:
                host.clear()
            except Exception as error:
                good = False
                print(f"not ok {name}-clears-up: {' '.join(str(error).split())[:300]}", flush=True)
    return good
