# Temperatures in whole degrees.
to_fahrenheit() {
	echo $(($1 * 9 / 5 + 32))
}

to_celsius() {
	echo $((($1 - 32) * 5 / 9))
}
