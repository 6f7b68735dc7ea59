using Bert4Rec.Configuration;
using Bert4Rec.EventLog;
using Bert4Rec.Pipeline;
using Bert4Rec.Tests.Cli;

namespace Bert4Rec.Tests.EventLog;

/// <summary>Logs with other names, separators and times than ours.</summary>
public sealed class LogFormatTests : IDisposable
{
    private const string Columns = "user_id=Customer,product_id=sku,event_time=ts,event_type=action";

    private static readonly string[] _options =
        ["--separator", ";", "--columns", Columns, "--event-names", "cart=add,purchase=order,other=any"];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("2019-10-01 00:00:00 UTC", 1569888000)]
    [InlineData("2019-10-01T00:00:00", 1569888000)]
    [InlineData("2019-10-01T00:00:00Z", 1569888000)]
    [InlineData("2019-10-01T02:30:00.999999+02:30", 1569888000.999)]
    [InlineData("2019-09-30 19:00:00.5-0500", 1569888000.5)]
    [InlineData("2019-10-01 02:00:00 +02", 1569888000)]
    [InlineData("2019-10-01", 1569888000)]
    [InlineData("2019-10-01 00:00", 1569888000)]
    [InlineData("2019-10-01T02:00+02:00", 1569888000)]
    [InlineData("2019-10-01t00:00z", 1569888000)]
    [InlineData("20191001", 1569888000)]
    [InlineData("20191001000000", 1569888000)]
    [InlineData("20191001T020000.5+0200", 1569888000.5)]
    [InlineData("1902-01-01", -2145916800)]
    [InlineData("1569888000", 1569888000)]
    [InlineData("1569888000.75", 1569888000.75)]
    [InlineData("1569888000123", 1569888000.123)]
    [InlineData("1569888000123456", 1569888000.123)]
    [InlineData("1569888000123456789", 1569888000.123)]
    public void Times_are_read(string text, double seconds)
    {
        Assert.True(EventValues.TryParseTime(System.Text.Encoding.UTF8.GetBytes(text), out long read));
        Assert.Equal(seconds, read / 1000.0);
    }

    [Theory]
    [InlineData("")]
    [InlineData("12.5")]
    [InlineData("20191301")]
    [InlineData("12345678")]
    [InlineData("20191001T0826")]
    [InlineData("20191001T000000Q")]
    [InlineData("2019-10-01Z")]
    [InlineData("2019-10-01 00:00.5")]
    [InlineData("0001-01-01T00:00:00+01:00")]
    [InlineData("9999-12-31T23:59:59-05:00")]
    [InlineData("1901-12-31")]
    [InlineData("-1569888000")]
    [InlineData("1569888000e0")]
    [InlineData("99999999999999999999")]
    [InlineData("01.10.2019 00:00:00")]
    [InlineData("2019-10-01 00:00:00 CET")]
    [InlineData("2019-10-01T00:00:00+2")]
    [InlineData("2019-10-01T00:00:00+15:00")]
    [InlineData("2019-10-01T00:00:00.")]
    [InlineData("2019-13-01")]
    [InlineData("2019-10-01 00:00:60")]
    [InlineData("2019-10-01 00:")]
    public void What_is_no_time_is_refused(string text) =>
        Assert.False(EventValues.TryParseTime(System.Text.Encoding.UTF8.GetBytes(text), out _));

    [Fact]
    public void A_shops_own_log_is_cleaned()
    {
        string log = _folder.Write(
            "shop.csv",
            "ts; action;sku;note;Customer;brand\n2019-10-01T00:00:01Z;order;a,1;x;u;\n2019-10-01T00:00:02Z;add;b;;u;acme\n"
            + "2019-10-01T00:00:00Z;purchase;b;;v;\n2019-10-01T00:00:03Z;search;;;u;\n2019-10-01T00:00:04Z;;c;;u;\n");

        var clean = CommandLine.Run(["clean", log, "-o", Path.Combine(_folder.Path, "c.csv"), "--events", "all", .. _options]);

        Assert.Equal((0, ""), (clean.ExitCode, clean.Error));
        Assert.Equal(
            SmallLog.Text("1569888000.0,5,b,,,,,v,", "1569888001.0,5,\"a,1\",,,,,u,", "1569888002.0,3,b,,,acme,,u,"),
            File.ReadAllText(Path.Combine(_folder.Path, "c.csv")));
        Assert.Contains("dropped: other event type 2", clean.Out);
    }

    /// <summary>pandas gives its index a column without a name.</summary>
    [Fact]
    public void A_column_that_is_not_read_is_not_the_one_without_a_name()
    {
        string log = _folder.Write(
            "a.csv", ",event_time,event_type,product_id,user_id,price\n7,1569888000.2,purchase,b,u,x\n8,1569888000.1,purchase,a,u,y\n");

        var clean = CommandLine.Run("clean", log, "-o", Path.Combine(_folder.Path, "c.csv"), "--columns", "price=,user_id=user_id");

        Assert.Equal((0, ""), (clean.ExitCode, clean.Error));
        Assert.Equal(
            SmallLog.Text("1569888000.1,5,a,,,,,u,", "1569888000.2,5,b,,,,,u,"), File.ReadAllText(Path.Combine(_folder.Path, "c.csv")));
    }

    [Theory]
    [InlineData("7.0", "2019-10-01", "2 times an id is like '7.0', as where a program has taken ids for numbers; '7' is another")]
    [InlineData("7", "2019123123", "the last event is of 2033-12-25 11:32, which is still to come")]
    [InlineData("7", "637055136000000000", "all events lie between 1990-03-10 07:45 and 1990-03-10 07:45")]
    [InlineData("7", "2019-10-01", "")]
    [InlineData("a.0", "1969-12-31", "")]
    public void What_is_readable_and_hardly_meant_is_a_warning(string user, string time, string warning)
    {
        string log = _folder.Write("a.csv", $"u,i,t\n{user},a,{time}\n{user},b,{time}\n");

        var clean = CommandLine.Run(
            "clean", log, "-o", Path.Combine(_folder.Path, "c.csv"), "--columns", "user_id=u,product_id=i,event_time=t",
            "--event-names", "purchase=any");

        Assert.Equal(0, clean.ExitCode);
        if (warning.Length == 0)
            Assert.Empty(clean.Error);
        else
            Assert.Contains(warning, clean.Error);
    }

    [Fact]
    public void What_databases_and_forms_have_for_nothing_is_nobodys_id()
    {
        string log = _folder.Write(
            "a.tsv",
            "u\ti\tt\n\\N\ta\t1569888000\n \ta\t1569888000\nu\ta\t1569888000\nu\tb\t0001-01-01T00:00:00+01:00\n"
            + "u\tb\t9999-12-31 00:00:00\n");

        var clean = CommandLine.Run(
            "clean", log, "-o", Path.Combine(_folder.Path, "c.csv"), "--columns", "user_id=u,product_id=i,event_time=t",
            "--event-names", "purchase=any", "--separator", "tab");

        Assert.Equal((0, ""), (clean.ExitCode, clean.Error));
        Assert.Equal(0, CommandLine.Run("analyze", log, "--columns", "user_id=u,product_id=i,event_time=t",
            "--event-names", "purchase=any", "--separator", "tab").ExitCode);
        Assert.Matches("no event_time +2", clean.Out);
        Assert.Matches("no user_id +2", clean.Out);
    }

    [Fact]
    public void Quotes_are_characters_where_the_log_says_so()
    {
        string log = _folder.Write("a.tsv", "u\ti\tt\nu\t\"Weird Al\" Yankovic\t1569888000\nu\t\"\t1569888001\n");
        string[] command =
        [
            "clean", log, "-o", Path.Combine(_folder.Path, "c.csv"), "--columns", "user_id=u,product_id=i,event_time=t",
            "--event-names", "purchase=any", "--separator", "tab",
        ];

        var quoted = CommandLine.Run(command);
        var plain = CommandLine.Run([.. command, "--no-quotes"]);

        Assert.Equal(1, quoted.ExitCode);
        Assert.Contains("(--no-quotes)", quoted.Error);
        Assert.Equal((0, ""), (plain.ExitCode, plain.Error));
        Assert.Equal(
            SmallLog.Text("1569888000.0,5,\"\"\"Weird Al\"\" Yankovic\",,,,,u,", "1569888001.0,5,\"\"\"\",,,,,u,"),
            File.ReadAllText(Path.Combine(_folder.Path, "c.csv")));
    }

    [Fact]
    public void Sessions_that_customers_share_are_a_warning()
    {
        string rows = string.Join('\n', Enumerable.Range(0, 40).Select(
            i => SmallLog.Row(user: $"u{i % 8}", session: $"s{i % 4}", product: $"{i}")));
        string log = _folder.Write("a.csv", SmallLog.Text(rows)), cleaned = Path.Combine(_folder.Path, "c.csv");
        Assert.Equal(0, CommandLine.Run("clean", log, "-o", cleaned).ExitCode);

        string[] command = ["convert", cleaned, "-o", Path.Combine(_folder.Path, "d"), "--name", "d"];
        var bySession = CommandLine.Run([.. command, "--group-by", "session"]);

        Assert.Equal(0, bySession.ExitCode);
        Assert.Contains("4 of 4 sessions have events of several customers", bySession.Error);
        Assert.Empty(CommandLine.Run(command).Error);
    }

    [Theory]
    [InlineData("{\"session\":1}\n", "this is JSON")]
    [InlineData("PK\u0003\u0004\0\0", "this is a zip archive or a workbook")]
    [InlineData("U,I,T\n", "lacks t, i, u (capitals count)")]
    [InlineData("\"visitorid\",\"itemid\",\"timestamp\"\n", "user_id=visitorid,product_id=itemid,event_time=timestamp")]
    public void What_is_no_log_of_ours_is_told_apart(string text, string message)
    {
        string log = _folder.Write("a.csv", text);
        Assert.Contains(message, CommandLine.Run("analyze", log, "--columns", "user_id=u,product_id=i,event_time=t",
            "--event-names", "purchase=any").Error);
    }

    [Fact]
    public void A_log_of_which_names_leave_nothing_says_so()
    {
        string log = _folder.Write("a.csv", SmallLog.Text(SmallLog.Row()));
        Assert.Contains("event_names leave out all 1", CommandLine.Run("analyze", log, "--event-names", "other=purchase").Error);
    }

    [Fact]
    public void Numbers_are_names_where_there_is_no_header()
    {
        string log = _folder.Write("u.data", "7\t1\t5\t881250949\n8\t2\t3\t881250950\n");

        var clean = CommandLine.Run(
            "clean", log, "-o", Path.Combine(_folder.Path, "c.csv"), "--no-header", "--separator", "tab",
            "--columns", "user_id=1,product_id=2,event_time=4", "--event-names", "purchase=*");

        Assert.Equal((0, ""), (clean.ExitCode, clean.Error));
        Assert.Equal(
            SmallLog.Text("881250949.0,5,1,,,,,7,", "881250950.0,5,2,,,,,8,"), File.ReadAllText(Path.Combine(_folder.Path, "c.csv")));
    }

    [Theory]
    [InlineData("ts;Customer;sku;action", "--separator ';' --columns user_id=Customer,product_id=sku,event_time=ts,event_type=action")]
    [InlineData("user,item,time", "--columns user_id=user,product_id=item,event_time=time --event-names purchase=any")]
    [InlineData("a,b,c", "--columns user_id=NAME,... gives other names")]
    public void A_header_with_other_names_is_refused_with_what_to_say(string header, string options)
    {
        var clean = CommandLine.Run("clean", _folder.Write("a.csv", header + "\n1,2,3\n"), "-o", Path.Combine(_folder.Path, "c.csv"));

        Assert.Equal(1, clean.ExitCode);
        Assert.Contains(options, clean.Error);
    }

    [Theory]
    [InlineData("userid=x", "'userid' in --columns is not one of event_time")]
    [InlineData("user_id", "'user_id' is not like user_id=NAME")]
    [InlineData("user_id=", "every event needs its user_id")]
    [InlineData("user_id=a,user_id=b", "--columns names user_id twice")]
    public void Wrong_columns_are_wrong_usage(string columns, string error)
    {
        var clean = CommandLine.Run("clean", _folder.Write("a.csv", "x\n"), "-o", "c.csv", "--columns", columns);

        Assert.Equal(2, clean.ExitCode);
        Assert.Contains(error, clean.Error);
    }

    [Theory]
    [InlineData("ts,Customer,sku\n", "lacks action")]
    [InlineData("ts,Customer,sku,action,sku\n", "names the column sku twice")]
    [InlineData("ts,Customer\rsku,action\n", "has a carriage return in it")]
    [InlineData("t\0s\0\n", "is not UTF-8")]
    public void A_log_that_is_not_as_was_said_is_refused(string text, string error)
    {
        var clean = CommandLine.Run("clean", _folder.Write("a.csv", text), "-o", Path.Combine(_folder.Path, "c.csv"), "--columns", Columns);

        Assert.Equal(1, clean.ExitCode);
        Assert.Contains(error, clean.Error);
        Assert.False(File.Exists(Path.Combine(_folder.Path, "c.csv")));
    }

    [Fact]
    public void An_analysis_knows_what_the_log_has()
    {
        string log = _folder.Write("a.csv", "ts,Customer,sku,action\n1569888000,u,a,order\n1569888060,u,b,seen\n");
        var format = new LogFormat
        {
            Columns = new Dictionary<EventColumn, string>
            {
                [EventColumn.UserId] = "Customer",
                [EventColumn.ProductId] = "sku",
                [EventColumn.EventTime] = "ts",
                [EventColumn.EventType] = "action",
            },
            EventNames = new Dictionary<string, string> { ["order"] = "purchase", [LogFormat.AnyName] = LogFormat.OtherEvent },
        };

        LogAnalysis analysis = EventLogAnalysis.Analyze([log], new AnalyzeOptions { Format = format });

        Assert.Equal((1, 1, 1, 1), (analysis.RawRows, analysis.RowsWithoutNulls, analysis.Purchases, analysis.LeftOut));
        Assert.Equal(1, analysis.HistoryLengths[1]);
    }

    [Fact]
    public void A_run_and_its_update_read_logs_alike()
    {
        string Log(string name, int first, int last) => _folder.Write(
            name,
            "ts;Customer;it's;action\n" + string.Concat(Enumerable.Range(first, last - first).Select(
                i => $"{1_569_888_000 + (60 * i)};U{i % 9};sku{i * i % 7};{(i % 5 == 0 ? "look" : "order")}\n")));
        string run = Path.Combine(_folder.Path, "run");
        string[] command =
        [
            "run", "--input", Log("a.csv", 0, 120), "-o", run,
            "--set", "epochs=1", "--set", "objective=next_item", "--set", "hidden_size=8",
            "--separator", ";", "--columns", "user_id=Customer,product_id=it's,event_time=ts,event_type=action",
            "--event-names", "purchase=order,other=any",
        ];
        var first = CommandLine.Run(command);
        Assert.Equal((0, ""), (first.ExitCode, first.Error));
        Assert.Contains("120 rows read, 96 kept, 24 dropped (other event type 24)", first.Out);
        Assert.Contains("clean    unchanged", CommandLine.Run(command).Out);

        var update = CommandLine.Run("update", "--model", run, "--input", Log("b.csv", 120, 160), "--epochs", "1");
        Assert.Equal((0, ""), (update.ExitCode, update.Error));
        Assert.Contains("32 new", update.Out);
    }

    [Fact]
    public void Settings_are_read_as_they_are_written()
    {
        var format = new LogFormat
        {
            Columns = new Dictionary<EventColumn, string> { [EventColumn.UserId] = "it's, a: name", [EventColumn.Price] = "" },
            EventNames = new Dictionary<string, string> { ["page view"] = "view", ["seen"] = "view", [LogFormat.AnyName] = "other" },
            Separator = '\t',
            HasHeader = false,
            HasQuotes = false,
        };
        string[] settings = ["event_log=a.csv", .. format.Settings().Select(setting => $"event_log.{setting.Key}={setting.Value}")];

        EventLogSettings log = RunConfig.Load([], settings).EventLog!;

        Assert.Equal(["a.csv"], log.Inputs);
        Assert.Equal(format.Columns, log.Clean.Format.Columns);
        Assert.Equal(format.EventNames, log.Clean.Format.EventNames);
        Assert.Equal((format.Separator, format.HasHeader), (log.Clean.Format.Separator, log.Clean.Format.HasHeader));
        Assert.False(log.Clean.Format.HasQuotes);
    }
}
