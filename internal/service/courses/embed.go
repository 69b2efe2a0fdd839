package courses

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// EmbedHosts are the hosts whose pages may be shown in frames unless an
// installation says otherwise.
const EmbedHosts = "www.youtube-nocookie.com,player.vimeo.com,www.geogebra.org,www.desmos.com,codepen.io,phet.colorado.edu"

// site is a place whose pages may be shown in a frame. Its addresses are told by
// patterns that the published schema has too, so that both accept the same.
type site struct {
	name     string
	host     string // of the frame
	patterns []*regexp.Regexp
	frame    func(match []string, u *url.URL) string // nil: the address as it is
	allow    string
}

const (
	// rest is what may come in an address after its host, without spaces and
	// quotes.
	rest = `(?:[!#$&'()*+,\-./0-9:;=?@A-Z_a-z~]|%[0-9A-Fa-f]{2})*`

	sandbox    = "allow-scripts allow-same-origin allow-forms allow-popups allow-presentation"
	allowVideo = "autoplay; encrypted-media; fullscreen; picture-in-picture"
)

// known are the sites that have addresses of their own for frames.
var known = []site{
	{
		name: "youtube", host: "www.youtube-nocookie.com", allow: allowVideo,
		patterns: []*regexp.Regexp{
			regexp.MustCompile(`^https://(?:www\.|m\.)?youtube\.com/watch\?(?:` + rest + `&)?v=([0-9A-Za-z_-]{11})(?:[&#]` + rest + `)?$`),
			regexp.MustCompile(`^https://youtu\.be/([0-9A-Za-z_-]{11})(?:[?#]` + rest + `)?$`),
			regexp.MustCompile(`^https://(?:www\.)?youtube(?:-nocookie)?\.com/(?:embed|shorts|live)/([0-9A-Za-z_-]{11})(?:[?#]` + rest + `)?$`),
		},
		frame: func(match []string, u *url.URL) string {
			out := "https://www.youtube-nocookie.com/embed/" + match[1]
			if start := seconds(u.Query().Get("t") + u.Query().Get("start")); start > 0 {
				out += "?start=" + strconv.Itoa(start)
			}
			return out
		},
	},
	{
		name: "vimeo", host: "player.vimeo.com", allow: allowVideo,
		patterns: []*regexp.Regexp{
			regexp.MustCompile(`^https://(?:www\.)?vimeo\.com/([0-9]{1,12})(?:/([0-9a-f]{6,40}))?(?:[?#]` + rest + `)?$`),
			regexp.MustCompile(`^https://player\.vimeo\.com/video/([0-9]{1,12})(?:\?(?:` + rest + `&)?h=([0-9a-f]{6,40})(?:[&#]` + rest + `)?|[?#]` + rest + `)?$`),
		},
		frame: func(match []string, _ *url.URL) string {
			out := "https://player.vimeo.com/video/" + match[1] + "?dnt=1"
			if match[2] != "" {
				out += "&h=" + match[2] // without it an unlisted video is not shown
			}
			return out
		},
	},
}

// seconds reads "90", "90s" or "1m30s".
func seconds(text string) int {
	total, n := 0, 0
	for _, r := range text {
		switch {
		case r >= '0' && r <= '9' && n < 1_000_000:
			n = n*10 + int(r-'0')
		case r == 'h':
			total, n = total+n*3600, 0
		case r == 'm':
			total, n = total+n*60, 0
		case r == 's':
			total, n = total+n, 0
		default:
			return 0
		}
	}
	return min(total+n, 1_000_000)
}

// sitesOf returns the sites whose frames come from hosts.
func sitesOf(hosts []string) []site {
	var out []site
	for _, host := range hosts {
		host = strings.ToLower(strings.TrimSpace(host))
		if host == "" {
			continue
		}
		if i := slices.IndexFunc(known, func(s site) bool { return s.host == host }); i >= 0 {
			out = append(out, known[i])
			continue
		}
		out = append(out, site{
			name: host, host: host, allow: "fullscreen",
			patterns: []*regexp.Regexp{regexp.MustCompile(`^https://` + regexp.QuoteMeta(host) + `(?:[/?#]` + rest + `)?$`)},
		})
	}
	return out
}

// framed returns the site of an address, and the address in the form in which it
// is framed; false when no site has it.
func framed(sites []site, address string) (site, string, bool) {
	for _, s := range sites {
		for _, p := range s.patterns {
			match := p.FindStringSubmatch(address)
			if match == nil {
				continue
			}
			u, err := url.Parse(address)
			if err != nil {
				continue
			}
			if s.frame == nil {
				return s, address, true
			}
			return s, s.frame(match, u), true
		}
	}
	return site{}, "", false
}

// embedPattern is what one of the sites has as address.
func embedPattern(sites []site) string {
	var all []string
	for _, s := range sites {
		for _, p := range s.patterns {
			all = append(all, strings.TrimSuffix(strings.TrimPrefix(p.String(), "^"), "$"))
		}
	}
	if len(all) == 0 {
		return `^[^\s\S]` // nothing
	}
	return "^(?:" + strings.Join(all, "|") + ")$"
}
