module github.com/stoa-lms/stoa/internal/demo/draw

go 1.26.0

require golang.org/x/image v0.44.0

require golang.org/x/text v0.40.0 // indirect
