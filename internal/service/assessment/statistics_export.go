package assessment

import (
	"bufio"
	"encoding/csv"
	"strconv"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/spreadsheet"
)

// statisticsPage is how many questions are read at a time for a file.
const statisticsPage = 100

// statisticsColumns are the columns of a file of statistics.
var statisticsColumns = []string{
	"row", "question_id", "version", "title", "kind", "drawn", "part", "answer", "count", "share", "mean", "max_points", "facility",
	"standard_deviation", "discrimination", "random_guess",
}

// ExportQuizStatistics implements [assessmentpb.StatisticsServiceServer].
func (h *statisticsServer) ExportQuizStatistics(req *assessmentpb.ExportQuizStatisticsRequest, stream grpc.ServerStreamingServer[assessmentpb.ExportQuizStatisticsResponse]) error {
	s, ctx := h.service, stream.Context()
	c, err := s.statisticsOf(ctx, req.GetCourseId(), req.GetItemId(), req.GetQuizId(), req.GetAttempts())
	if err != nil {
		return err
	}
	if err := stream.Send(&assessmentpb.ExportQuizStatisticsResponse{Filename: "statistics-" + c.attempts + ".csv", ContentType: "text/csv; charset=utf-8"}); err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(writerFunc(func(chunk []byte) error {
		return stream.Send(&assessmentpb.ExportQuizStatisticsResponse{Chunk: chunk})
	}), 64<<10)
	out := csv.NewWriter(buffer)
	// So that spreadsheets know that it is UTF-8.
	if _, err := buffer.WriteString("\ufeff"); err != nil {
		return err
	}
	if err := out.Write(statisticsColumns); err != nil {
		return err
	}
	after, version := "", int32(0)
	for {
		list, err := s.questionFigures(ctx, c, after, version, statisticsPage)
		if err != nil {
			return err
		}
		if err := s.addAnswers(ctx, c, list); err != nil {
			return err
		}
		for _, q := range list {
			if err := writeStatistics(out, q); err != nil {
				return err
			}
		}
		if len(list) < statisticsPage {
			break
		}
		after, version = list[len(list)-1].GetQuestionId(), list[len(list)-1].GetVersion()
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return err
	}
	return buffer.Flush()
}

func writeStatistics(out *csv.Writer, q *assessmentpb.QuestionStatistics) error {
	f := q.GetFigures()
	begin := []string{"question", q.GetQuestionId(), strconv.Itoa(int(q.GetVersion())), spreadsheet.Harmless(q.GetTitle()), q.GetKind(), strconv.FormatBool(q.GetDrawn())}
	if err := out.Write(append(begin, "", "", strconv.FormatInt(f.GetCount(), 10), "", f.GetMean(), f.GetMaxPoints(), f.GetFacility(),
		f.GetStandardDeviation(), f.GetDiscrimination(), f.GetRandomGuess())); err != nil {
		return err
	}
	for _, a := range q.GetAnswers() {
		begin = []string{"answer", q.GetQuestionId(), strconv.Itoa(int(q.GetVersion())), "", "", ""}
		if err := out.Write(append(begin, spreadsheet.Harmless(a.GetPart()), spreadsheet.Harmless(a.GetAnswer()), strconv.FormatInt(a.GetCount(), 10), a.GetShare(), "", "", "", "", a.GetDiscrimination(), "")); err != nil {
			return err
		}
	}
	return nil
}
