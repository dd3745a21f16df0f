package measure

import (
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"time"
)

func quiet(int, int, string) {}

// spin works for about d.
func spin(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
	}
}

// TestRunCounts: every round gives each lane one turn of the same operations, with
// numbers that are never used twice.
func TestRunCounts(t *testing.T) {
	var seen [2]map[int]int
	lane := func(of int) func(from, until int) error {
		seen[of] = make(map[int]int)
		return func(from, until int) error {
			for i := from; i < until; i++ {
				seen[of][i]++
				spin(10 * time.Microsecond)
			}
			return nil
		}
	}
	prepared := 0
	s := Scenario{Name: "s", Baseline: "a", Lanes: []Lane{
		{Name: "a", Run: lane(0)},
		{Name: "b", Run: lane(1), Most: 7, Prepare: func() error { prepared++; return nil }},
	}}
	series, err := Run(s, Settings{Rounds: 5, Turn: time.Millisecond, Progress: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if len(series) != 6 {
		t.Fatalf("%d series, want 2 lanes times 3 units", len(series))
	}
	for _, one := range series {
		if len(one.Values) != 5 {
			t.Errorf("%s %s: %d values of 5 rounds", one.Lane, one.Unit, len(one.Values))
		}
	}
	if prepared < 6 {
		t.Errorf("prepared %d times for 5 rounds and calibration", prepared)
	}
	for of := range seen {
		for i, n := range seen[of] {
			if n != 1 {
				t.Fatalf("lane %d: operation %d ran %d times", of, i, n)
			}
		}
	}
	if series[1].Count != 7 {
		t.Errorf("%d operations a turn, at most 7 allowed", series[1].Count)
	}
}

func TestRunShares(t *testing.T) {
	var ran, calls atomic.Int64
	s := Scenario{Name: "s", Baseline: "a", Callers: 4, Lanes: []Lane{{Name: "a", Most: 10, Run: func(from, until int) error {
		calls.Add(1)
		ran.Add(int64(until - from))
		return nil
	}}}}
	if _, err := Run(s, Settings{Rounds: 1, Turn: time.Hour, Progress: quiet}); err != nil {
		t.Fatal(err)
	}
	if calls.Load()%4 != 0 || ran.Load()%10 != 0 && ran.Load() != 4+10+10 {
		t.Fatalf("%d calls for %d operations", calls.Load(), ran.Load())
	}
}

func TestRunReportsFailures(t *testing.T) {
	broken := errors.New("broken")
	for name, lane := range map[string]Lane{
		"run":     {Name: "a", Run: func(int, int) error { return broken }},
		"prepare": {Name: "a", Prepare: func() error { return broken }},
		"clock":   {Name: "a", Most: 1, Clock: func(int) (time.Duration, error) { return 0, broken }},
	} {
		s := Scenario{Name: "s", Baseline: "a", Lanes: []Lane{lane}}
		if _, err := Run(s, Settings{Rounds: 1, Turn: time.Millisecond, Progress: quiet}); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClockIsMedian(t *testing.T) {
	took := []time.Duration{5, 1, 900, 3, 2}
	s := Scenario{Name: "s", Baseline: "a", Lanes: []Lane{{Name: "a", Most: 5,
		Clock: func(i int) (time.Duration, error) { return took[i%5], nil }}}}
	series, err := Run(s, Settings{Rounds: 3, Progress: quiet})
	if err != nil || len(series) != 1 {
		t.Fatalf("%v, %v", series, err)
	}
	for _, v := range series[0].Values {
		if v != 3 {
			t.Fatalf("figures %v, want the median 3", series[0].Values)
		}
	}
}

// TestRatioHoldsWhileSpeedDrifts: both sides become slower, the ratio stays.
func TestRatioHoldsWhileSpeedDrifts(t *testing.T) {
	var ours, theirs []float64
	for round := range 9 {
		speed := math.Pow(1.3, float64(round))
		ours, theirs = append(ours, 80*speed), append(theirs, 100*speed)
	}
	r, ok := Ratio(ours, theirs)
	if !ok || math.Abs(r.Median-0.8) > 1e-9 || math.Abs(r.High-r.Low) > 1e-9 {
		t.Fatalf("%+v, want 0.8 without spread", r)
	}
	if s := Summarize(ours); s.High < 2*s.Low {
		t.Fatalf("%+v, want the spread of the drift", s)
	}
}

func TestRatioWithout(t *testing.T) {
	for name, c := range map[string][2][]float64{
		"no rounds":      {nil, nil},
		"a base of zero": {{1}, {0}},
		"other rounds":   {{1, 2}, {1}},
	} {
		if r, ok := Ratio(c[0], c[1]); ok {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestSummarize(t *testing.T) {
	values := []float64{9, 1, 5}
	if s := Summarize(values); s != (Summary{5, 1, 9}) {
		t.Errorf("%+v", s)
	}
	if values[0] != 9 {
		t.Error("the rounds were reordered")
	}
	if s := Summarize([]float64{4, 3, 2, 1, 5, 6, 7, 8, 9, 100}); s.Median != 5.5 || s.Low > 3 || s.High < 8 || s.High >= 100 {
		t.Errorf("%+v, want a median of 5.5 and an interval without the outlier", s)
	}
}

func TestRows(t *testing.T) {
	s := Scenario{Name: "s", Baseline: "b"}
	series := []Series{
		{Lane: "a", Unit: Nanoseconds, Values: []float64{10, 20, 30}},
		{Lane: "b", Unit: Nanoseconds, Values: []float64{20, 40, 60}},
		{Lane: "a", Unit: Allocations, Values: []float64{1, 1, 1}},
	}
	rows, err := Rows(s, series)
	if err != nil {
		t.Fatal(err)
	}
	if r := rows[0]; r.Summary.Median != 20 || r.Ratio == nil || r.Ratio.Median != 0.5 {
		t.Errorf("%+v", r)
	}
	if rows[1].Ratio.Median != 1 || rows[2].Ratio != nil {
		t.Errorf("%+v, %+v", rows[1], rows[2])
	}
	if _, err := Rows(Scenario{Baseline: "c"}, series); err == nil {
		t.Error("a baseline that took no part is no error")
	}
}
