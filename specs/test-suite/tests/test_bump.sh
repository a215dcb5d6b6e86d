test_each_part() {
	equal 2.0.0 "$(semver_bump 1.2.3 major)"
	equal 1.3.0 "$(semver_bump 1.2.3 minor)"
	equal 1.2.4 "$(semver_bump 1.2.3 patch)"
}

test_pre_release_goes() {
	equal 1.3.0 "$(semver_bump 1.2.3-rc.1+build.7 minor)"
}

test_unknown_part() {
	code=0
	semver_bump 1.2.3 micro || code=$?
	equal 2 "$code"
}
