using Bert4Rec.Cli.Output;

namespace Bert4Rec.Tests.Cli;

public class ProgressReporterTests
{
    [Fact]
    public void Nothing_is_said_of_what_takes_less_than_two_seconds()
    {
        Assert.Empty(Lines(seconds: 1.9, "reading"));
    }

    [Fact]
    public void Long_work_gets_a_line_every_five_seconds()
    {
        string[] lines = Lines(seconds: 13.5, "reading");

        Assert.Equal(
            [
                "reading: 2%, 200 of 10.0k rows, 100 rows/s, 1:38 min left, loss 5.93",
                "reading: 7%, 700 of 10.0k rows, 100 rows/s, 1:33 min left, loss 5.93",
                "reading: 12%, 1.20k of 10.0k rows, 100 rows/s, 1:28 min left, loss 5.93",
            ],
            lines);
    }

    [Fact]
    public void Several_short_things_are_not_one_long_thing()
    {
        Assert.Empty(Lines(seconds: 1.5, "a", "b", "c", "d"));
    }

    [Fact]
    public void Many_short_epochs_are_one_long_thing()
    {
        Assert.NotEmpty(Lines(seconds: 1.5, "epoch 1", "epoch 2", "epoch 3"));
    }

    [Theory]
    [InlineData(0, 0, 0, "x: 0 rows")]
    [InlineData(500, 0, 10, "x: 500 rows, 50 rows/s")]
    [InlineData(1000, 1000, 10, "x: 100%, 1.00k of 1.00k rows, 100 rows/s")]
    [InlineData(0, 1000, 10, "x: 0%, 0 of 1.00k rows")]
    public void What_is_not_known_is_left_out(long done, long total, double seconds, string expected)
    {
        Assert.Equal(expected, ProgressReporter.Describe(new("x", done, total, "rows"), done, TimeSpan.FromSeconds(seconds)));
    }

    [Theory]
    [InlineData(0, "0")]
    [InlineData(999, "999")]
    [InlineData(0.25, "0.25")]
    [InlineData(999.7, "1.00k")]
    [InlineData(9_994, "9.99k")]
    [InlineData(99_960, "100k")]
    [InlineData(3_806_194, "3.81M")]
    [InlineData(5_300_000_000, "5.30G")]
    public void Numbers_have_three_digits(double value, string expected) => Assert.Equal(expected, ProgressReporter.Short(value));

    [Theory]
    [InlineData(0.4, "0 s")]
    [InlineData(59.4, "59 s")]
    [InlineData(59.6, "1:00 min")]
    [InlineData(3599, "59:59 min")]
    [InlineData(3600, "1:00 h")]
    [InlineData(90_061, "25:01 h")]
    [InlineData(double.PositiveInfinity, "over 4 days")]
    public void Durations_have_the_unit_that_fits(double seconds, string expected) =>
        Assert.Equal(expected, ProgressReporter.Duration(seconds));

    /// <summary>Each activity reports ten times a second for so long, at 100 rows a second of 10,000.</summary>
    private static string[] Lines(double seconds, params string[] activities)
    {
        using var error = new StringWriter { NewLine = "\n" };
        var clock = new ManualClock();
        var reporter = new ProgressReporter(new Terminal(TextWriter.Null, error, TextReader.Null, false, false), clock);
        foreach (string activity in activities)
        {
            for (int tenth = 0; tenth <= seconds * 10; tenth++)
            {
                reporter.Report(new(activity, tenth * 10, 10_000, "rows", "loss 5.93"));
                clock.Now += TimeSpan.FromSeconds(0.1);
            }
        }
        reporter.Clear();
        return error.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    private sealed class ManualClock : TimeProvider
    {
        public TimeSpan Now { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now.Ticks;
    }
}
