kage_unit_test(text kage-base)
kage_unit_test(message kage-proto)
kage_unit_test(loop kage-loop kage-proto)
