using Deque.AxeCore.Commons;
using Deque.AxeCore.Playwright;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Bert4Rec.Tests.Server;

/// <summary>A headless Chromium, where there is one.</summary>
public sealed class Chromium : IAsyncLifetime
{
    private static readonly string? s_path = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
        .Append("/usr/bin").SelectMany(folder => new[] { "chromium", "chromium-browser", "google-chrome" }.Select(
            name => Path.Combine(folder, name))).FirstOrDefault(File.Exists);

    private IPlaywright? _playwright;

    public IBrowser? Browser { get; private set; }

    public async Task InitializeAsync()
    {
        if (s_path is null)
            return;
        _playwright = await Playwright.CreateAsync();
        Browser = await _playwright.Chromium.LaunchAsync(new()
        {
            ExecutablePath = s_path,
            Args =
            [
                "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync",
            ],
        });
    }

    public async Task DisposeAsync()
    {
        if (Browser is not null)
            await Browser.DisposeAsync();
        _playwright?.Dispose();
    }
}

/// <summary>The page in a browser: what people do on it, with the keyboard, and that axe and the console find nothing wrong.</summary>
[Collection(ServerTests.Name)]
public sealed class PageTests(ServedShop shop, Chromium chromium) : IClassFixture<Chromium>
{
    /// <summary>Where to leave a picture of each look of the page; null for none.</summary>
    private static readonly string? s_pictures = Environment.GetEnvironmentVariable("BERT4REC_PAGE_PICTURES");

    private readonly List<string> _complaints = [];

    [SkippableTheory]
    [InlineData(ColorScheme.Light, 1400)]
    [InlineData(ColorScheme.Light, 400)]
    [InlineData(ColorScheme.Dark, 1400)]
    [InlineData(ColorScheme.Dark, 400)]
    public async Task Axe_finds_nothing_wrong(ColorScheme scheme, int width)
    {
        IPage page = await Open(shop.Running.Url, scheme, width);
        await page.GetByLabel("Or take a customer’s").FillAsync("u5");
        await page.Keyboard.PressAsync("Enter");
        await Expect(page.GetByRole(AriaRole.Status)).ToContainTextAsync("Customer u5");
        await Expect(page.Locator("#legend")).ToBeVisibleAsync();
        await Check(page, $"{scheme}-{width}".ToLowerInvariant());
        // Nothing is wider than the screen.
        Assert.Equal(width, await page.EvaluateAsync<int>("document.documentElement.scrollWidth"));

        // What opens over it is looked at in two of the four.
        bool looksOn = (scheme == ColorScheme.Light) == (width == 400);
        await page.GetByLabel("Add an item").FocusAsync();
        await page.Keyboard.PressAsync("ArrowDown");
        await Expect(page.Locator("#found li")).ToHaveCountAsync(12);
        if (looksOn)
            await Check(page);
        await page.Keyboard.PressAsync("Escape");
        await page.GetByRole(AriaRole.Button, new() { NameString = "Items similar to" }).First.ClickAsync();
        await Expect(page.GetByRole(AriaRole.Dialog)).ToBeVisibleAsync();
        if (looksOn)
            await Check(page);
        Assert.Empty(_complaints);
    }

    [SkippableFact]
    public async Task A_history_is_put_together_with_the_keyboard()
    {
        IPage page = await Open(shop.Running.Url);
        ILocator events = page.Locator("#events li b"), suggestions = page.Locator("#suggested li");
        ILocator status = page.GetByRole(AriaRole.Status);
        await Expect(status).ToContainTextAsync("10 most popular items");
        await Expect(page.Locator("#model")).ToContainTextAsync("40 items · 150 customers");

        // Search, walk the list, take one; what is typed next is another search.
        await page.Keyboard.PressAsync("Tab");
        await page.Keyboard.TypeAsync("p17");
        await Expect(page.Locator("#found li")).ToHaveCountAsync(1);
        await page.Keyboard.PressAsync("Enter");
        await Expect(status).ToHaveTextAsync("Added p17. 10 suggestions.");
        await page.Keyboard.TypeAsync("p2");
        await Expect(page.Locator("#found li").First).ToContainTextAsync("p2");
        await page.Keyboard.PressAsync("ArrowDown");
        await page.Keyboard.PressAsync("ArrowDown");
        string second = await page.Locator("[aria-selected=true] b").InnerTextAsync();
        Assert.Equal("found-1", await page.GetByLabel("Add an item").GetAttributeAsync("aria-activedescendant"));
        await page.Keyboard.PressAsync("Enter");
        await Expect(events).ToHaveTextAsync(["p17", second]);
        await Expect(page.Locator("#events .bar")).ToHaveCountAsync(4); // Two layers.
        string[] asked = [.. await suggestions.Locator("b").AllInnerTextsAsync()];

        // The other order is another question; the focus stays with what was moved.
        await page.GetByRole(AriaRole.Button, new() { Name = $"Move {second} up" }).FocusAsync();
        await page.Keyboard.PressAsync("Enter");
        await Expect(events).ToHaveTextAsync([second, "p17"]);
        await Expect(page.GetByRole(AriaRole.Button, new() { Name = $"Move {second} down" })).ToBeFocusedAsync();
        await Expect(status).ToHaveTextAsync("Moved to place 1. 10 suggestions.");
        Assert.NotEqual(asked, await suggestions.Locator("b").AllInnerTextsAsync());

        await page.GetByLabel("leave out the history").FocusAsync();
        await page.Keyboard.PressAsync("Space");
        await page.GetByLabel("how many").SelectOptionAsync("50");
        await Expect(suggestions).ToHaveCountAsync(38);

        // Similar items, and one of them into the history.
        await page.GetByRole(AriaRole.Button, new() { NameString = "Items similar to" }).First.FocusAsync();
        await page.Keyboard.PressAsync("Enter");
        ILocator dialog = page.GetByRole(AriaRole.Dialog);
        await Expect(dialog.Locator("li")).ToHaveCountAsync(10);
        await dialog.GetByRole(AriaRole.Button, new() { NameString = "Add" }).First.FocusAsync();
        await page.Keyboard.PressAsync("Enter");
        await page.Keyboard.PressAsync("Escape");
        await Expect(dialog).ToBeHiddenAsync();
        await Expect(events).ToHaveCountAsync(3);

        await page.GetByRole(AriaRole.Button, new() { Name = "Remove p17" }).FocusAsync();
        await page.Keyboard.PressAsync("Enter");
        await Expect(events).ToHaveCountAsync(2);
        await page.GetByRole(AriaRole.Button, new() { Name = "Clear" }).FocusAsync();
        await page.Keyboard.PressAsync("Enter");
        await Expect(status).ToContainTextAsync("most popular items");

        await page.GetByLabel("Or take a customer’s").FocusAsync();
        await page.Keyboard.TypeAsync("u5");
        await page.Keyboard.PressAsync("Enter");
        await Expect(status).ToContainTextAsync("Customer u5: ");
        Assert.Empty(_complaints);
        await page.Keyboard.TypeAsync("00");
        await page.Keyboard.PressAsync("Enter");
        await Expect(status).ToContainTextAsync("not among the users of the training data");
        await Expect(events).Not.ToHaveCountAsync(0);
    }

    [SkippableFact]
    public async Task The_page_asks_for_the_key_that_the_server_asks_for()
    {
        using var folder = new TemporaryFolder();
        await using RunningServer server =
            await RunningServer.Start(new() { Model = shop.Model, ApiKeyFile = folder.Write("keys", "0123456789abcdef\n") });
        IPage page = await Open(server.Url);
        foreach ((string key, bool isRight) in new[] { ("nonsense", false), ("0123456789abcdef", true) })
        {
            await page.GetByLabel("API key").FillAsync(key);
            await page.Keyboard.PressAsync("Enter");
            if (!isRight)
                await Expect(page.GetByRole(AriaRole.Alert)).ToContainTextAsync("show a key");
        }
        await Expect(page.Locator("#suggested li")).ToHaveCountAsync(10);
        await Expect(page.GetByRole(AriaRole.Dialog)).ToBeHiddenAsync();
    }

    private async Task<IPage> Open(string url, ColorScheme scheme = ColorScheme.Light, int width = 1400)
    {
        Skip.If(chromium.Browser is null, "there is no chromium on the PATH or in /usr/bin");
        IBrowserContext context =
            await chromium.Browser!.NewContextAsync(new() { ColorScheme = scheme, ViewportSize = new() { Width = width, Height = 900 } });
        context.SetDefaultTimeout(20_000);
        IPage page = await context.NewPageAsync();
        page.Console += (_, message) => _complaints.Add($"{message.Type}: {message.Text}");
        page.PageError += (_, error) => _complaints.Add(error);
        await page.GotoAsync(url);
        return page;
    }

    private static async Task Check(IPage page, string? picture = null)
    {
        if (s_pictures is not null && picture is not null)
            await page.ScreenshotAsync(new() { Path = Path.Combine(s_pictures, $"{picture}.png"), FullPage = true });
        AxeResult result = await page.RunAxe();
        Assert.True(
            result.Violations.Length == 0,
            string.Join('\n', result.Violations.Select(each => $"{each.Id}: {each.Help}: {each.Nodes[0].Html}")));
    }
}
