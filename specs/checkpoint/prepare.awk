# For every number the steps it takes to 1, by n/2 and 3n+1.
{
	n = $1
	for (steps = 0; n != 1; steps++)
		n = n % 2 ? 3 * n + 1 : n / 2
	print $1, steps
}
