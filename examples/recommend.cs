#:package Bert4Rec@*

// Recommends after a history, from a folder that bert4rec train, bert4rec run or examples/train.cs wrote:
//
//     dotnet run examples/recommend.cs -- MODEL "TOKEN TOKEN" [FIELD=VALUE | FIELD<NUMBER | FIELD>NUMBER]...
//
// as in: dotnet run examples/recommend.cs -- saved/shop "espresso-machine coffee-beans" category=kitchen "price<100"

using System.Globalization;
using Bert4Rec;
using Bert4Rec.Inference;

if (args.Length < 2)
{
    Console.Error.WriteLine("wanted: MODEL \"TOKEN TOKEN\" [FIELD=VALUE | FIELD<NUMBER | FIELD>NUMBER]...");
    return 2;
}
try
{
    using var recommender = Recommender.Load(args[0]);
    var request = new RecommendationRequest
    {
        History = args[1].Split(' ', StringSplitOptions.RemoveEmptyEntries),
        ExcludeSeen = true,
        Filters = [.. args[2..].Select(ReadFilter)],
    };
    var result = recommender.Recommend(request);
    if (result.UnknownTokens.Count > 0)
        Console.Error.WriteLine($"unknown: {string.Join(' ', result.UnknownTokens)}");
    foreach (var item in result.Items)
        Console.WriteLine($"{item.Token}\t{item.Score:F3}\t{string.Join(", ", item.Fields.Select(field => $"{field.Key} {field.Value}"))}");
    return 0;
}
catch (Exception e) when (e is InputException or ArgumentException or FormatException)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}

static FieldFilter ReadFilter(string text)
{
    int at = text.IndexOfAny(['=', '<', '>']);
    if (at < 1)
        throw new FormatException($"{text}: wanted FIELD=VALUE, FIELD<NUMBER or FIELD>NUMBER");
    string value = text[(at + 1)..];
    var filter = new FieldFilter(text[..at]);
    return text[at] switch
    {
        '<' => filter with { Maximum = double.Parse(value, CultureInfo.InvariantCulture) },
        '>' => filter with { Minimum = double.Parse(value, CultureInfo.InvariantCulture) },
        _ => filter with { AnyOf = [value] },
    };
}
