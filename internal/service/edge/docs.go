package edge

import "net/http"

func (e *Edge) docsPage(w http.ResponseWriter, r *http.Request) {
	e.show(w, r, "docs.html", nil)
}
