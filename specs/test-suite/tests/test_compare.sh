expect_order() { # the arguments must be in rising order
	while [ $# -gt 1 ]; do
		equal -1 "$(semver_compare "$1" "$2")"
		equal 1 "$(semver_compare "$2" "$1")"
		shift
	done
}

test_numbers_not_text() {
	expect_order 1.9.0 1.10.0 1.11.0 2.0.0 10.0.0
}

# The example of the specification, item 11.
test_pre_releases() {
	expect_order 1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 \
		1.0.0-beta.11 1.0.0-rc.1 1.0.0
}

test_build_data_does_not_count() {
	equal 0 "$(semver_compare 1.0.0+a 1.0.0+b)"
	equal 0 "$(semver_compare 1.0.0-rc.1+a 1.0.0-rc.1)"
}
