test_plain() {
	semver_valid 1.2.3
	semver_valid 0.0.0
	semver_valid 10.20.30
}

test_pre_release_and_build() {
	semver_valid 1.0.0-alpha
	semver_valid 1.0.0-alpha.1+build.5
	semver_valid 1.0.0+20130313144700
	semver_valid 1.0.0-x-y-z.--
}

test_not_versions() {
	for version in "" 1 1.2 1.2.3.4 01.2.3 1.02.3 v1.2.3 1.2.3- 1.2.3-01 1.2.3+ "1.2.3 "; do
		if semver_valid "$version"; then
			echo "'$version' was taken for a version"
			return 1
		fi
	done
}
