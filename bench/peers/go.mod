module mantlet.dev/bench/peers

go 1.25
