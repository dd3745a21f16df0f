package audit

import "slices"

// staircase is the running maximum of points: for each x, the highest y at any x up to
// it. Only the points that raise the maximum are kept, so both x and y strictly
// increase. A time on x and a version on y answer "what was current then"; a version on
// x and a time on y answer "how late was something this old still read".
type staircase struct {
	points  []point
	trimmed bool // points were dropped at the low end
}

type point struct{ x, y int64 }

// add notes y at x, in any order of x.
func (s *staircase) add(x, y int64) {
	if n := len(s.points); n > 0 && s.points[n-1].x == x {
		s.points[n-1].y = max(s.points[n-1].y, y) // one version read again and again
		return
	}
	i := s.search(x + 1) // points before i are at or left of x
	if i > 0 && s.points[i-1].y >= y {
		return
	}
	from := i
	if i > 0 && s.points[i-1].x == x {
		from = i - 1
	}
	to := i
	for to < len(s.points) && s.points[to].y <= y {
		to++
	}
	s.points = slices.Replace(s.points, from, to, point{x, y})
}

// before returns the last step left of x.
func (s *staircase) before(x int64) (point, bool) {
	i := s.search(x)
	if i == 0 {
		return point{}, false
	}
	return s.points[i-1], true
}

// firstAbove returns the x from which on the maximum exceeds y. If the low end was
// trimmed, the true answer may be less.
func (s *staircase) firstAbove(y int64) (x int64, ok bool) {
	i, _ := slices.BinarySearchFunc(s.points, y+1, func(p point, y int64) int { return compare(p.y, y) })
	if i == len(s.points) {
		return 0, false
	}
	return s.points[i].x, true
}

// highest returns the maximum of all points, 0 if there are none.
func (s *staircase) highest() int64 {
	if len(s.points) == 0 {
		return 0
	}
	return s.points[len(s.points)-1].y
}

// trim drops what is not needed to answer for x and beyond: all steps left of x but the
// last.
func (s *staircase) trim(x int64) {
	s.drop(s.search(x) - 1)
}

// trimBelow drops the steps that are lower than y.
func (s *staircase) trimBelow(y int64) {
	n := 0
	for n < len(s.points) && s.points[n].y < y {
		n++
	}
	s.drop(n)
}

func (s *staircase) drop(n int) {
	if n > 0 {
		s.points = slices.Delete(s.points, 0, n)
		s.trimmed = true
	}
}

// search returns the index of the first point at or right of x.
func (s *staircase) search(x int64) int {
	i, _ := slices.BinarySearchFunc(s.points, x, func(p point, x int64) int { return compare(p.x, x) })
	return i
}

// compare is cmp.Compare without its care for NaN, on the path of every read.
func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
