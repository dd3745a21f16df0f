package httpcache

import (
	"net/http"
	"testing"
	"time"
)

// TestFreshnessLifetime: RFC 9111, 4.2.1 and 4.2.2.
func TestFreshnessLifetime(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		ttl    time.Duration
		fields []string
		fresh  time.Duration // answers from the cache until then
	}{
		"what Handler says":                 {30 * time.Second, nil, 30 * time.Second},
		"max-age over Handler":              {30 * time.Second, []string{"Cache-Control: max-age=100"}, 100 * time.Second},
		"s-maxage over max-age":             {0, []string{"Cache-Control: max-age=10, s-maxage=50"}, 50 * time.Second},
		"max-age over Expires":              {0, []string{"Cache-Control: max-age=10", "Expires: Sat, 01 Jan 2000 01:00:00 GMT"}, 10 * time.Second},
		"Expires":                           {0, []string{"Expires: Sat, 01 Jan 2000 00:01:00 GMT"}, time.Minute},
		"Expires against Date":              {0, []string{"Expires: Sat, 01 Jan 2000 00:01:00 GMT", "Date: Sat, 01 Jan 2000 00:00:30 GMT"}, 30 * time.Second},
		"Expires: 0":                        {time.Minute, []string{"Expires: 0"}, 0},
		"a tenth since Last-Modified":       {0, []string{"Last-Modified: Fri, 31 Dec 1999 23:58:20 GMT"}, 10 * time.Second},
		"a day at most":                     {0, []string{"Last-Modified: Sat, 01 Jan 1990 00:00:00 GMT"}, day},
		"nothing at all":                    {0, nil, 0},
		"max-age=0":                         {time.Minute, []string{"Cache-Control: max-age=0"}, 0},
		"no number":                         {time.Minute, []string{"Cache-Control: max-age=x"}, 0},
		"negative":                          {time.Minute, []string{"Cache-Control: max-age=-10"}, 0},
		"a fraction":                        {time.Minute, []string{"Cache-Control: max-age=9.5"}, 0},
		"twice, the lower":                  {0, []string{"Cache-Control: max-age=50, max-age=20"}, 20 * time.Second},
		"in two lines":                      {0, []string{"Cache-Control: public", "Cache-Control: max-age=20"}, 20 * time.Second},
		"quoted":                            {0, []string{`Cache-Control: max-age="20"`}, 20 * time.Second},
		"in any case":                       {0, []string{"Cache-Control: MAX-AGE=20"}, 20 * time.Second},
		"unknown directives":                {0, []string{`Cache-Control: foo, bar=1, baz="max-age=1,", max-age=20`}, 20 * time.Second},
		"no-cache":                          {time.Minute, []string{"Cache-Control: no-cache, max-age=50"}, 0},
		"age from upstream is counted":      {0, []string{"Cache-Control: max-age=50", "Age: 20"}, 30 * time.Second},
		"a wrong age is not":                {0, []string{"Cache-Control: max-age=50", "Age: x"}, 50 * time.Second},
		"the first age counts":              {0, []string{"Cache-Control: max-age=50", "Age: 20, 40"}, 30 * time.Second},
		"too old already":                   {0, []string{"Cache-Control: max-age=50", "Age: 50"}, 0},
		"an old Date":                       {0, []string{"Cache-Control: max-age=50", "Date: Fri, 31 Dec 1999 23:59:40 GMT"}, 30 * time.Second},
		"Pragma in a response says nothing": {0, []string{"Cache-Control: max-age=20", "Pragma: no-cache"}, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := says(c.fields...)
				h := open(t, Config{}).Handler(c.ttl)(o)
				want(t, do(h, "/"), 200, "body 1")
				if c.fresh == 0 {
					want(t, do(h, "/"), 200, "body 2")
					return
				}
				time.Sleep(c.fresh - time.Second)
				want(t, do(h, "/"), 200, "body 1")
				time.Sleep(time.Second)
				want(t, do(h, "/"), 200, "body 2")
			})
		})
	}
}

// TestDirectives: RFC 9111, 5.2, as far as a response's lifetime does not show it.
func TestDirectives(t *testing.T) {
	d := parseDirectives([]string{`private="X-A, x-b", no-cache=X-C,no-store ,`, ` , Must-Revalidate,proxy-revalidate, must-understand`,
		`max-stale, min-fresh=5, stale-if-error=7,stale-while-revalidate="9", public, only-if-cached, ="x", "y"`})
	if d.private || d.noCache || len(d.hidden) != 3 || !d.noStore || !d.mustRevalidate || !d.proxyRevalidate || !d.mustUnderstand ||
		!d.public || !d.onlyIfCached || d.maxStale != maxLife || d.minFresh != 5*time.Second || d.sie != 7*time.Second || d.swr != 9*time.Second {
		t.Fatalf("%+v", d)
	}
	if d := parseDirectives([]string{"max-age=99999999999999999999"}); d.maxAge != maxLife {
		t.Fatalf("a huge max-age is %v", d.maxAge)
	}
	for _, line := range []string{`x="`, `x="\`, `=`, `,`, `"`, `x=,y`, "\x00"} {
		parseDirectives([]string{line}) // must end
	}
}

// TestAge: RFC 9111, 4.2.3 and 5.1. A stored response has an Age, one from the handler
// has none but an upstream cache's.
func TestAge(t *testing.T) {
	for name, c := range map[string]struct {
		fields      []string
		first, then string
	}{
		"of a handler":         {nil, "", "3"},
		"of an upstream cache": {[]string{"Age: 30"}, "30", "33"},
		"by an old Date":       {[]string{"Date: Fri, 31 Dec 1999 23:59:50 GMT"}, "", "13"},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				h := open(t, Config{}).Handler(time.Hour)(says(c.fields...))
				first := do(h, "/")
				wantField(t, first, "Age", c.first)
				time.Sleep(3 * time.Second)
				then := do(h, "/")
				wantField(t, then, "Age", c.then)
				if date := first.Header.Get("Date"); date != "" {
					wantField(t, then, "Date", date)
				}
			})
		})
	}
	t.Run("counts the time that the handler took", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			h := open(t, Config{}).Handler(time.Hour)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(2 * time.Second)
				w.Header().Set("Age", "30")
			}))
			do(h, "/")
			wantField(t, do(h, "/"), "Age", "32")
		})
	})
}

// TestRequestDirectives: RFC 9111, 5.2.1 and 5.4. The stored response is 10 s old and
// fresh for 20 s; in 40 s it is stale for as long.
func TestRequestDirectives(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		pause   time.Duration
		status  int
		body    string
	}{
		"none":                       {"", 10 * time.Second, 200, "body 1"},
		"no-cache":                   {"Cache-Control: no-cache", 10 * time.Second, 200, "body 2"},
		"Pragma":                     {"Pragma: no-cache", 10 * time.Second, 200, "body 2"},
		"no-store":                   {"Cache-Control: no-store", 10 * time.Second, 200, "body 2"},
		"max-age above":              {"Cache-Control: max-age=11", 10 * time.Second, 200, "body 1"},
		"max-age below":              {"Cache-Control: max-age=9", 10 * time.Second, 200, "body 2"},
		"min-fresh below":            {"Cache-Control: min-fresh=9", 10 * time.Second, 200, "body 1"},
		"min-fresh above":            {"Cache-Control: min-fresh=11", 10 * time.Second, 200, "body 2"},
		"stale":                      {"", 40 * time.Second, 200, "body 2"},
		"max-stale above":            {"Cache-Control: max-stale=21", 40 * time.Second, 200, "body 1"},
		"max-stale below":            {"Cache-Control: max-stale=19", 40 * time.Second, 200, "body 2"},
		"max-stale without end":      {"Cache-Control: max-stale", 40 * time.Second, 200, "body 1"},
		"only-if-cached, and it is":  {"Cache-Control: only-if-cached", 10 * time.Second, 200, "body 1"},
		"only-if-cached, and is not": {"Cache-Control: only-if-cached", 40 * time.Second, 504, "Gateway Timeout\n"},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				cache := open(t, Config{})
				h := cache.Handler(0)(says("Cache-Control: max-age=20", `ETag: "a"`))
				do(h, "/")
				time.Sleep(c.pause)
				var fields []string
				if c.request != "" {
					fields = append(fields, c.request)
				}
				want(t, do(h, "/", fields...), c.status, c.body)
			})
		})
	}
	t.Run("can be ignored", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			h := open(t, Config{IgnoreRequests: true}).Handler(time.Hour)(says())
			do(h, "/")
			want(t, do(h, "/", "Cache-Control: no-cache, no-store"), 200, "body 1")
		})
	})
	t.Run("max-stale yields to must-revalidate", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			h := open(t, Config{}).Handler(0)(says("Cache-Control: max-age=20, must-revalidate", `ETag: "a"`))
			do(h, "/")
			time.Sleep(21 * time.Second)
			want(t, do(h, "/", "Cache-Control: max-stale"), 200, "body 2")
		})
	})
	t.Run("no-cache refreshes what is stored", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			h := open(t, Config{}).Handler(time.Hour)(says())
			do(h, "/")
			want(t, do(h, "/", "Cache-Control: no-cache"), 200, "body 2")
			want(t, do(h, "/"), 200, "body 2")
		})
	})
	t.Run("no-store stores nothing", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			h := open(t, Config{}).Handler(time.Hour)(says())
			do(h, "/", "Cache-Control: no-store")
			want(t, do(h, "/"), 200, "body 2")
			want(t, do(h, "/"), 200, "body 2")
		})
	})
	t.Run("no-store leaves alone what is fresh", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := says()
			o.serve = func(w http.ResponseWriter, _ *http.Request, n int64) {
				if n == 2 {
					w.Header().Set("Cache-Control", "no-store")
				}
				_, _ = w.Write([]byte(body(n)))
			}
			h := open(t, Config{}).Handler(time.Hour)(o)
			do(h, "/")
			want(t, do(h, "/", "Cache-Control: no-cache"), 200, "body 2")
			want(t, do(h, "/"), 200, "body 1")
		})
	})
}
