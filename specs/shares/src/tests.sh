# Tests temperature.sh and writes a JUnit report: sh tests.sh REPORT
. ./temperature.sh

tests=0
failures=0
cases=

check() { # NAME WANT GOT
	tests=$((tests + 1))
	if [ "$2" = "$3" ]; then
		echo "ok   $1"
		cases="$cases  <testcase classname=\"temperature\" name=\"$1\"/>
"
	else
		failures=$((failures + 1))
		echo "FAIL $1: want $2, got $3"
		cases="$cases  <testcase classname=\"temperature\" name=\"$1\"><failure message=\"want $2, got $3\"/></testcase>
"
	fi
}

check "water freezes" 32 "$(to_fahrenheit 0)"
check "water boils" 212 "$(to_fahrenheit 100)"
check "both scales meet" -40 "$(to_fahrenheit -40)"
check "and back" 100 "$(to_celsius 212)"

cat >"$1" <<XML
<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="temperature" tests="$tests" failures="$failures">
$cases</testsuite>
XML
[ "$failures" = 0 ]
