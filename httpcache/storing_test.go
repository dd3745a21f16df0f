package httpcache

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestStoring: RFC 9111, 3: what may be stored. The life by Handler is an hour.
func TestStoring(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		fields []string
		stored bool
	}{
		"a response that says nothing":       {200, nil, true},
		"no-store":                           {200, []string{"Cache-Control: no-store, max-age=60"}, false},
		"no-store in any case":               {200, []string{"Cache-Control: No-StOrE"}, false},
		"private":                            {200, []string{"Cache-Control: private, max-age=60"}, false},
		"Set-Cookie":                         {200, []string{"Set-Cookie: a=b", "Cache-Control: public, max-age=60"}, false},
		"404":                                {404, nil, true},
		"410":                                {410, nil, true},
		"301":                                {301, []string{"Location: /x"}, true},
		"302":                                {302, []string{"Location: /x"}, false},
		"302 with max-age":                   {302, []string{"Location: /x", "Cache-Control: max-age=60"}, true},
		"500":                                {500, nil, false},
		"503 with max-age":                   {503, []string{"Cache-Control: max-age=60"}, true},
		"201 with Expires":                   {201, []string{"Expires: Sat, 01 Jan 2000 00:01:00 GMT"}, true},
		"201 that is public":                 {201, []string{"Cache-Control: public"}, true},
		"204":                                {204, nil, true},
		"206":                                {206, []string{"Cache-Control: max-age=60"}, false},
		"an unknown status":                  {299, []string{"Cache-Control: max-age=60"}, true},
		"an unknown status, must-understand": {299, []string{"Cache-Control: max-age=60, must-understand"}, false},
		"no-store, must-understand":          {200, []string{"Cache-Control: no-store, max-age=60, must-understand"}, true},
		"no-store, must-understand, unknown": {299, []string{"Cache-Control: no-store, max-age=60, must-understand"}, false},
		"Vary: *":                            {200, []string{"Vary: *", "Cache-Control: max-age=60"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := &origin{serve: func(w http.ResponseWriter, _ *http.Request, _ int64) {
					set(w.Header(), c.fields...)
					w.WriteHeader(c.status)
				}}
				h := open(t, Config{}).Handler(time.Hour)(o)
				for range 2 {
					if r := do(h, "/"); r.StatusCode != c.status {
						t.Fatalf("status %d", r.StatusCode)
					}
				}
				o.want(t, map[bool]int64{true: 1, false: 2}[c.stored])
			})
		})
	}
}

// TestUncacheableIsLearnedAnew: what could not be stored does not keep the next response
// from being stored.
func TestUncacheableIsLearnedAnew(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := &origin{serve: func(w http.ResponseWriter, _ *http.Request, n int64) {
			if n == 1 {
				w.Header().Set("Cache-Control", "no-store")
			}
			_, _ = io.WriteString(w, body(n))
		}}
		h := open(t, Config{}).Handler(time.Hour)(o)
		do(h, "/")
		want(t, do(h, "/"), 200, "body 2")
		want(t, do(h, "/"), 200, "body 2")
	})
}

// TestStoredFields: RFC 9111, 3.1, 5.2.2.4 and 5.2.2.7: fields for one hop, and those that
// private and no-cache name, reach the first client only; the rest reach all.
func TestStoredFields(t *testing.T) {
	simulate(t, func(t *testing.T) {
		h := open(t, Config{}).Handler(time.Hour)(says("Connection: X-Hop, close", "X-Hop: 1", "Keep-Alive: x", "Te: x", "Upgrade: x",
			"Proxy-Authenticate: x", "Proxy-Connection: x", `Cache-Control: private="X-Mine", no-cache="x-once, X-Two"`,
			"X-Mine: 1", "X-Once: 1", "X-Two: 1", "X-Kept: a", "X-Kept: b", "Content-Language: en"))
		first, second := do(h, "/"), do(h, "/")
		want(t, second, 200, "body 1")
		for _, name := range []string{"X-Hop", "Keep-Alive", "Te", "Upgrade", "Proxy-Authenticate", "Proxy-Connection", "X-Mine", "X-Once", "X-Two"} {
			if first.Header.Get(name) == "" || second.Header[name] != nil {
				t.Errorf("%s: %q, then %q", name, first.Header[name], second.Header[name])
			}
		}
		if got := second.Header["X-Kept"]; len(got) != 2 || second.Header.Get("Content-Language") != "en" {
			t.Errorf("fields lost: %v", second.Header)
		}
		wantField(t, second, "Content-Length", "6")
		wantField(t, second, "Content-Type", "text/plain; charset=utf-8")
		if second.Header.Get("Date") == "" {
			t.Error("no Date")
		}
	})
}

// TestKeys: RFC 9111, 2: method and target URI; the query's parameters in any order.
func TestKeys(t *testing.T) {
	for name, c := range map[string]struct {
		first, second string
		same          bool
	}{
		"the same":                      {"/a?x=1", "/a?x=1", true},
		"another path":                  {"/a", "/b", false},
		"a slash more":                  {"/a", "/a/", false},
		"another query":                 {"/a?x=1", "/a?x=2", false},
		"no query":                      {"/a?x=1", "/a", false},
		"another order":                 {"/a?x=1&y=2&x=3", "/a?y=2&x=1&x=3", true},
		"another order of one name":     {"/a?x=1&x=2", "/a?x=2&x=1", false},
		"a name that begins another":    {"/a?x1=0&x=5", "/a?x=5&x1=0", true},
		"another host":                  {"http://a.test/", "http://b.test/", false},
		"a host in capitals":            {"http://a.test/", "http://A.TEST/", true},
		"another scheme":                {"http://a.test/", "https://a.test/", false},
		"a slash that is none":          {"/a/b", "/a%2Fb", false},
		"a question mark that is none":  {"/a?b", "/a%3Fb", false},
		"HEAD is answered from GET":     {"GET /a", "HEAD /a", true},
		"GET is not answered from HEAD": {"HEAD /a", "GET /a", false},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := says()
				h := open(t, Config{}).Handler(time.Hour)(o)
				do(h, c.first)
				do(h, c.second)
				o.want(t, map[bool]int64{true: 1, false: 2}[c.same])
			})
		})
	}
	t.Run("long ones", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := says()
			h := open(t, Config{}).Handler(time.Hour)(o)
			long := make([]byte, 5000)
			for i := range long {
				long[i] = 'x'
			}
			do(h, "/"+string(long)+"1")
			do(h, "/"+string(long)+"2")
			do(h, "/"+string(long)+"1")
			o.want(t, 2)
		})
	})
	t.Run("hundreds of parameters", func(t *testing.T) {
		simulate(t, func(t *testing.T) {
			o := says()
			h := open(t, Config{}).Handler(time.Hour)(o)
			query := "/?z=1"
			for range 300 {
				query += "&y=2"
			}
			do(h, query)
			do(h, query)
			do(h, query+"&y=2")
			o.want(t, 2)
		})
	})
}

// TestOptions: custom keys and filters.
func TestOptions(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := says()
		h := open(t, Config{}).Handler(time.Hour,
			Key(func(r *http.Request) string { return r.URL.Query().Get("id") }),
			Only(func(r *http.Request) bool { return r.URL.Path != "/never" }),
			Unless(func(r *http.Request) bool { return r.Header.Get("X-Admin") != "" }))(o)
		do(h, "/a?id=1")
		want(t, do(h, "/b?id=1&x=y"), 200, "body 1")
		want(t, do(h, "/a?id=2"), 200, "body 2")
		want(t, do(h, "/a"), 200, "body 3") // no key
		want(t, do(h, "/a"), 200, "body 4")
		want(t, do(h, "/never?id=1"), 200, "body 5")
		want(t, do(h, "/a?id=1", "X-Admin: 1"), 200, "body 6")
		do(h, "POST /other?id=1")
		want(t, do(h, "/a?id=1"), 200, "body 8")
	})
}

// TestNewReportsMistakes: all of them at once.
func TestNewReportsMistakes(t *testing.T) {
	_, err := New(Config{MaxBodyBytes: -1, Timeout: -1, ETags: 9, CacheStatus: "a b", KeepStale: maxLife + 1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"MaxBodyBytes is -1", "a Timeout of -1ns", "ETags is 9", `CacheStatus is "a b"`, "KeepStale"} {
		if !contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
	if _, err := New(Config{MaxBytes: 1}); err == nil {
		t.Error("the engine's mistakes are not reported")
	}
}

// TestAnswersAreNotShared: what a middleware around the cache adds to one answer is in no
// other, and never in what is stored.
func TestAnswersAreNotShared(t *testing.T) {
	stored := (&entry{Kind: kindResponse, Status: 200, Header: http.Header{"X-A": append(make([]string, 0, 8), "a")}}).prepare()
	rt := &route{cache: &Cache{}}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, mine := range []string{"b", "c"} {
		rec := httptest.NewRecorder()
		rt.answer(rec, r, stored, 1, forwarded{})
		for name := range rec.Header() {
			rec.Header().Add(name, mine)
		}
	}
	for _, f := range stored.fields {
		if len(f.values) != 1 || cap(f.values) != 1 {
			t.Errorf("%s is %q, with room for %d", f.name, f.values, cap(f.values))
		}
	}
}

// TestForeignBytes: what is no entry is an error, and no panic.
func TestForeignBytes(t *testing.T) {
	whole, err := entryCodec{}.Append(nil, pass)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"", "\xc0", "\x80", "\x81\xa4Kind\x09", "\x81\xa4Kind\x01", "hello", string(whole[:len(whole)-1])} {
		if e, err := (entryCodec{}).Decode([]byte(data)); err == nil {
			t.Errorf("%q became %+v", data, e)
		}
	}
	if e, err := (entryCodec{}).Decode(whole); err != nil || e.Kind != kindPass {
		t.Errorf("%+v, %v", e, err)
	}
}
