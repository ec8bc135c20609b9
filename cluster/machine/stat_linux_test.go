package machine

import "testing"

func TestAHostileProcessNameDoesNotShiftTheFields(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	for _, stat := range []string{"12 (sleep)" + rest, "12 (a) Z 1 (b c)" + rest} {
		if tick, err := startTick(stat); tick != "4711" || err != nil {
			t.Errorf("%s: %s, %v", stat, tick, err)
		}
	}
	for _, stat := range []string{"", "12 (sleep) S 1 2", "12 (sleep) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711"} {
		if _, err := startTick(stat); err == nil {
			t.Errorf("`%s` was read", stat)
		}
	}
}
